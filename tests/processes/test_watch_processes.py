"""A real process with somebody who waits and somebody who follows: how it ends, and what it writes into its log."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.tempolor.callback_tokens import Tokens
from tests.support.commands import Running, environment, running
from tests.support.databases import on_sqlite
from tests.support.gateway import ADMIN_KEY, SECRET, SONG
from tests.support.server_sent_events import stream
from tests.support.virtual_time import monotonic


async def _submit(served: Running) -> Any:
    return (await served.api.post("/v1/tasks", json={"kind": "song.generate", "params": SONG})).json()["id"]


async def test_sigterm_ends_waits_and_streams_at_once_and_serves_on(tmp_path: Path, database_url: str) -> None:
    env = environment(database_url, drain_s=2, log_level="debug")
    async with running("serve", "--workers-off", env=env, cwd=tmp_path) as served:
        task_id = await _submit(served)
        waiting = asyncio.create_task(served.api.get(f"/v1/tasks/{task_id}?wait=60"))
        async with (
            stream(served.api, f"/v1/tasks/{task_id}/stream") as own,
            stream(served.api, "/v1/stream") as everything,
        ):
            await own.next()
            await anext(everything.blocks())
            path = f"/callbacks/song/{Tokens([SECRET]).sign('song', UUID(task_id))}"
            body = {
                "songs": [{"item_id": "t2m_1", "status": "main_succeeded", "audio_url": "https://x.example/?auth=1"}]
            }
            assert (await served.api.post(path, json=body)).text == "success"
            for events in (own, everything):
                assert (await asyncio.wait_for(events.next(), 5))["status"] == "main_succeeded"
            assert not waiting.done()
            since = monotonic()
            ending = asyncio.create_task(served.terminate())
            answer = await waiting
            assert (answer.status_code, answer.json()["status"]) == (200, "main_succeeded")
            for events in (own, everything):
                with pytest.raises(StopAsyncIteration):
                    await events.next()
            assert monotonic() - since < 1.5
            assert (await served.api.get("/healthz")).status_code == 200
        assert await ending == 0
        assert [line for line in served.lines() if line["level"] in ("error", "critical")] == []
        # The library that frames the events tells each of them to its log.
        assert "x.example" not in served.log.read_text()


@on_sqlite
async def test_a_reader_that_does_not_read_cannot_keep_the_process_from_ending(
    tmp_path: Path, database_url: str
) -> None:
    env = environment(database_url, drain_s=1)
    async with running("serve", "--workers-off", env=env, cwd=tmp_path) as served:
        task_ids = [await _submit(served) for _ in range(40)]
        host, port = served.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.sendall(f"GET /v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_KEY}\r\n\r\n".encode())
            await asyncio.sleep(0.3)
            tokens = Tokens([SECRET])
            for task_id in task_ids:
                # Together far more than the sockets' buffers hold.
                body = {"songs": [{"item_id": f"t2m_{task_id}", "status": "running", "lyrics": "la " * 100_000}]}
                path = f"/callbacks/song/{tokens.sign('song', UUID(task_id))}"
                assert (await served.api.post(path, content=json.dumps(body))).text == "success"
            await asyncio.sleep(0.5)
            since = monotonic()
            assert await served.terminate() == 0
            # The server waits for its connections, but not for ever.
            assert monotonic() - since < 18
