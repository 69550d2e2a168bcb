"""The snippets of the client's page run as they stand."""

import asyncio
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from app.caller.signing import sign
from app.client import AsyncGatewayClient
from tests.support.databases import on_sqlite
from tests.support.gateway import ADMIN_KEY

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "client.md").read_text()
PROGRAM, RECEIVER = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SECRET = "whsec_" + "A" * 43 + "="


@on_sqlite
async def test_the_program_of_the_page_runs(studio):
    gateway, client = studio
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    env |= {"TEMPOLOR_GATEWAY_URL": gateway.url, "TEMPOLOR_GATEWAY_KEY": ADMIN_KEY}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", PROGRAM,
        cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    told, _ = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, told.decode()
    assert " succeeded " in told.decode()
    [task] = [one async for one in client.list(reference="order-17")]
    assert task.status == "succeeded"


def test_the_receiver_of_the_page_believes_what_is_signed():
    known: dict = {}
    exec(compile(RECEIVER, "client.md", "exec"), known)
    body = b'{"type":"gateway.ping","timestamp":"2026-01-31T12:00:00Z","data":{}}'
    headers = dict(sign("0192-a", body, [SECRET], datetime.now(UTC)).headers)
    assert known["receive"](body, headers, [SECRET]) == 204
    assert known["receive"](body + b" ", headers, [SECRET]) == 403


def test_every_method_is_named():
    methods = [name for name in vars(AsyncGatewayClient) if not name.startswith("_") and name != "close"]
    assert [name for name in methods if f"`{name}`" not in PAGE] == []
