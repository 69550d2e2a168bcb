"""A gateway and a sandbox to play with, until Ctrl-C: ``python -m app.demo.playground [OPTIONS OF THE SANDBOX]``."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from typing import Final

import typer

from app.demo import processes
from app.demo.processes import Broken
from app.demo.stage import Stage, stage

PORTS: Final = (8000, 9000)
SCALE: Final = "20"
_TASK: Final = {"kind": "song.generate", "params": {"prompt": "slow pop ballad, piano", "model": "tempolor-latest"}}


def main(sandbox_arguments: Sequence[str]) -> int:
    """Serve until a signal. Settings of the environment hold, but for addresses and keys."""
    return processes.run(_serve(("--scale", SCALE, *sandbox_arguments)))


async def _serve(sandbox_arguments: Sequence[str]) -> int:
    # At this scale nothing takes longer than ten seconds, so a lost callback is noticed soon after.
    env = {"GATEWAY_QUERY_FIRST_AFTER_S": "15", "GATEWAY_LOG_FORMAT": "console", **os.environ}
    try:
        async with stage(env=env, sandbox_arguments=sandbox_arguments, ports=PORTS, quiet=False) as on_stage:
            typer.echo(_welcome(on_stage))
            ended = [asyncio.ensure_future(one.wait()) for one in (on_stage.gateway, on_stage.sandbox)]
            await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
            on_stage.gateway.check()
            on_stage.sandbox.check()
    except Broken as error:
        typer.echo(str(error), err=True)
    return 1


def _welcome(on_stage: Stage) -> str:
    url, key = on_stage.gateway_url, on_stage.admin_key
    return f"""
  gateway    {url}   (its API: {url}/openapi.json)
  sandbox    {on_stage.sandbox_url}/_sandbox   (faults on demand: docs/sandbox.md)
  admin key  {key}

Submit a task, then read it:

  KEY={key}
  curl -s {url}/v1/tasks -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\
    -d '{json.dumps(_TASK)}'
  curl -s '{url}/v1/tasks?limit=1' -H "Authorization: Bearer $KEY"

The database goes with this process. Ctrl-C ends both.
"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
