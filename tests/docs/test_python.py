"""Every Python block of the documentation runs as it stands: programs to their end, receivers as servers."""

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.runtime.signing import sign
from tempolor_gateway_client import AsyncGatewayClient
from tests.chaos.processes import free_port
from tests.docs.pages import ELSEWHERE, PAGES, Block, block, blocks
from tests.support.databases import on_sqlite
from tests.support.gateway import ADMIN_KEY, SONG, Running, eventually
from tests.support.programs import run_program
from tests.support.start_fixtures import StartGateway, StartSandbox

SECRET = "whsec_" + "A" * 43 + "="
ENV = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


@pytest.fixture
async def studio(start_gateway: StartGateway, start_sandbox: StartSandbox) -> Running:
    """A gateway that works, in front of a quick vendor."""
    return await start_gateway(await start_sandbox(scale=400), egress_allow_private=True)


@on_sqlite
@pytest.mark.parametrize("program", [one for one in blocks("python") if one.page not in ELSEWHERE], ids=str)
async def test_a_program_runs_to_its_end(program: Block, studio: Running, tmp_path: Path) -> None:
    given = {"TEMPOLOR_GATEWAY_URL": studio.url, "TEMPOLOR_GATEWAY_KEY": ADMIN_KEY}
    command = (sys.executable, "-W", "error", "-c", program.text)
    ended = await run_program(*command, env=ENV | given, cwd=tmp_path, timeout_s=90)
    assert ended.code == 0, ended.text
    if "GatewayClient(" in program.text:
        assert (tmp_path / "song.mp3").read_bytes().startswith(b"ID3")
        assert " succeeded " in ended.text
        found = await studio.api.get("/v1/tasks", params={"reference": "order-17"})
        assert [task["status"] for task in found.json()["data"]] == ["succeeded"]


def test_the_receiver_of_the_client_believes_what_is_signed() -> None:
    [receiver] = [one for one in blocks("python") if "def receive(" in one.text]
    known: dict[str, Any] = {}
    exec(compile(receiver.text, str(receiver), "exec"), known)
    body = b'{"type":"gateway.ping","timestamp":"2026-01-31T12:00:00Z","data":{}}'
    headers = dict(sign("0192-a", body, [SECRET], datetime.now(UTC)).headers)
    assert known["receive"](body, headers, [SECRET]) == 204
    assert known["receive"](body + b" ", headers, [SECRET]) == 403


@on_sqlite
async def test_the_receiver_without_our_client_is_told_of_a_song(studio: Running, tmp_path: Path) -> None:
    made = (await studio.api.post("/v1/clients", json={"name": "radio"})).json()
    url = f"http://127.0.0.1:{(port := free_port())}"
    log = tmp_path / "receiver.log"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", block("docs/integrate.md", "python", "receiver").text,
            env=ENV | {"WEBHOOK_SECRET": made["webhook_secret"], "PORT": str(port)}, stdout=file, stderr=file,
        )  # fmt: skip
    try:
        headers = {"Authorization": f"Bearer {made['api_key']}"}
        async with httpx.AsyncClient(base_url=studio.url, headers=headers, trust_env=False, timeout=20) as radio:

            async def pinged() -> bool:
                answer = await radio.post("/v1/notifications/test", json={"url": url})
                return bool(answer.json().get("status") == 204)

            await eventually(pinged)
            order = {"kind": "song.generate", "params": SONG, "webhook_url": url}
            task = (await radio.post("/v1/tasks", json=order)).json()

            async def told() -> bool:
                return f"task.succeeded {task['id']} succeeded" in log.read_text()

            await eventually(told, 30)
            forged = await radio.post(url, json={"type": "task.succeeded", "data": task}, headers={"webhook-id": "x"})
            assert forged.status_code == 403
    finally:
        process.kill()
        await process.wait()


def test_every_method_of_the_client_is_named() -> None:
    methods = [name for name in vars(AsyncGatewayClient) if not name.startswith("_") and name != "close"]
    assert [name for name in methods if f"`{name}`" not in PAGES["docs/client.md"]] == []
