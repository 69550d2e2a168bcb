"""The sandbox and the gateway as subprocesses, started on free ports and ended in every case."""

import asyncio
import contextlib
import json
import os
import runpy
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import httpx
import typer

GRACE_S: Final = 5.0


def run_command() -> None:
    """What a subprocess runs: the command line as it is, tied to the life of its parent.

    The parent holds the other end of standard input and never writes to it. When the parent is gone, for whatever
    reason, the end of that stream is read here, and the subprocess ends too.
    """
    sys.argv[0] = "tempolor-gateway"
    threading.Thread(target=_end_with_parent, daemon=True).start()
    runpy.run_module("app", run_name="__main__")


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


HOST: Final = "127.0.0.1"
READY_S: Final = 60.0
STOP_S: Final = 8.0
_TAIL_LINES: Final = 15


class Broken(Exception):
    """A child process did not do its part; the message says which, and how it ended."""


class Child:
    """A running command of this project. ``log``: where its output goes; None: its errors go to the terminal."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path | None) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._log = log

    def check(self) -> None:
        """Raises ``Broken`` if it has ended."""
        code = self._process.returncode
        if code is not None:
            raise Broken(f"the {self.name} process ended with code {code}{self._tail()}")

    async def wait_ready(self, url: str) -> None:
        """Wait until ``url`` answers 200. Raises ``Broken``."""
        end = time.monotonic() + READY_S
        async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
            while time.monotonic() < end:
                self.check()
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(url)).status_code == 200:
                        return
                await asyncio.sleep(0.05)
        raise Broken(f"the {self.name} process is not ready after {READY_S:g} s{self._tail()}")

    async def wait(self) -> None:
        """Wait for its end."""
        await self._process.wait()

    async def stop(self) -> None:
        """End it: politely, then by force."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def _tail(self) -> str:
        if self._log is None:
            return ""
        lines = self._log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return "".join(f"\n    {line}" for line in lines)


@asynccontextmanager
async def child(
    name: str, *arguments: str, folder: Path, env: Mapping[str, str], quiet: bool = True
) -> AsyncIterator[Child]:
    """Run ``tempolor-gateway ARGUMENTS`` in ``folder``, where no .env file is, until the block ends.

    It has a session of its own: Ctrl-C reaches this process alone, which then ends its children in order.
    ``quiet``: its output goes to a log file in the folder.
    """
    log = folder / f"{name}.log" if quiet else None
    with _opened(log) as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from app.demo.processes import run_command; run_command()", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=output or asyncio.subprocess.DEVNULL,
            stderr=output,
            cwd=folder,
            env=dict(env),
            start_new_session=True,
        )
    running = Child(name, process, log)
    try:
        yield running
    finally:
        await running.stop()


def _opened(log: Path | None) -> AbstractContextManager[IO[bytes] | None]:
    return contextlib.nullcontext() if log is None else log.open("wb")


def free_port(wanted: int = 0) -> int:
    """``wanted`` if it is free, else any free port."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise Broken("there is no free port")


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run to the end and return the exit code. The first signal cancels ``main``, so that it puts everything away;
    further ones change nothing."""
    return asyncio.run(_watch_signals(main))


async def _watch_signals(main: Coroutine[Any, Any, int]) -> int:
    told: list[int] = []
    working = asyncio.ensure_future(main)

    def on_signal(number: int) -> None:
        if not told:
            working.cancel()
        told.append(number)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await working
    except asyncio.CancelledError:
        if not told:
            raise
        return 128 + told[0]


@dataclass(frozen=True, slots=True)
class Stage:
    """Both are up and answer."""

    gateway: Child
    sandbox: Child
    gateway_url: str
    sandbox_url: str
    admin_key: str


@asynccontextmanager
async def stage(
    *,
    env: Mapping[str, str],
    sandbox_arguments: Sequence[str] = (),
    ports: tuple[int, int] = (0, 0),
    quiet: bool = True,
) -> AsyncIterator[Stage]:
    """Start both, and end both with the block. ``env``: what the gateway is given besides addresses and keys;
    ``ports``: those of gateway and sandbox, taken if they are free. Raises ``Broken``."""
    gateway_port, sandbox_port = (free_port(port) for port in ports)
    gateway_url, sandbox_url = f"http://{HOST}:{gateway_port}", f"http://{HOST}:{sandbox_port}"
    vendor_key, admin_key = f"Tempo-{secrets.token_hex(24)}", secrets.token_urlsafe(36)
    with tempfile.TemporaryDirectory(prefix="tempolor-gateway-") as name:
        folder = Path(name)
        ours = {
            "GATEWAY_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'gateway.db'}",
            "GATEWAY_PUBLIC_URL": gateway_url,
            "GATEWAY_CALLBACK_SECRETS": secrets.token_urlsafe(36),
            "GATEWAY_TEMPOLOR_API_KEY": vendor_key,
            "GATEWAY_TEMPOLOR_BASE_URL": sandbox_url,
            "GATEWAY_BOOTSTRAP_ADMIN_KEY": admin_key,
            "GATEWAY_EGRESS_ALLOW_PRIVATE": "true",
            "GATEWAY_DRAIN_S": "0.1",
        }
        start = partial(child, folder=folder, env={**env, **ours}, quiet=quiet)
        where = ("--host", HOST, "--port")
        sandbox_command = ("sandbox", *where, str(sandbox_port), "--key", vendor_key, *sandbox_arguments)
        async with (
            start("sandbox", *sandbox_command) as sandbox,
            start("gateway", "serve", *where, str(gateway_port)) as gateway,
        ):
            await sandbox.wait_ready(f"{sandbox_url}/_sandbox")
            await gateway.wait_ready(f"{gateway_url}/readyz")
            yield Stage(gateway, sandbox, gateway_url, sandbox_url, admin_key)


PORTS: Final = (8000, 9000)
SCALE: Final = "20"
_TASK: Final = {"kind": "song.generate", "params": {"prompt": "slow pop ballad, piano", "model": "tempolor-latest"}}


def main(sandbox_arguments: Sequence[str]) -> int:
    """Serve until a signal. Settings of the environment hold, but for addresses and keys."""
    return run(_serve(("--scale", SCALE, *sandbox_arguments)))


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
