"""Purging, erasing and replaying from the command line, beside a running server."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.tempolor.callback_tokens import Tokens
from tests.support.commands import environment, run, running
from tests.support.gateway import SECRET, SONG
from tests.support.song_callbacks import done


@pytest.fixture
def env(database_url: str) -> dict[str, str]:
    return environment(database_url)


async def submit(api: httpx.AsyncClient, headers: dict[str, str] | None = None) -> Any:
    answer = await api.post("/v1/tasks", json={"kind": "song.generate", "params": SONG}, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


async def call_back(api: httpx.AsyncClient, task_id: str, body: dict[str, Any]) -> httpx.Response:
    token = Tokens([SECRET]).sign("song", UUID(task_id))
    return await api.post(f"/callbacks/song/{token}", content=json.dumps(body))


def counts(text: Any) -> dict[str, Any]:
    return {name: int(number) for name, number in (line.split("\t") for line in text.splitlines())}


@pytest.mark.slow
async def test_the_commands_work_beside_a_running_server(
    env: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    async with running("serve", "--workers-off", env=env, cwd=tmp_path) as server:
        api = server.api

        async def command(*arguments: str, code: str | int = 0) -> str:
            ended = await run(*arguments, env=env, cwd=tmp_path)
            assert ended.code == code, ended.text
            return ended.out

        made = (await api.post("/v1/clients", json={"name": "studio"})).json()
        headers = {"Authorization": f"Bearer {made['api_key']}"}
        task, other = await submit(api, headers), await submit(api)
        assert (await call_back(api, task, done("t2m_1", title="Harbour Lights"))).text == "success"
        assert (await call_back(api, other, {"songs": "odd"})).status_code == 400

        # The inbound log.
        lines = (await command("callbacks", "list")).splitlines()
        assert [line.split("\t")[3] for line in lines] == ["malformed", "applied"]
        [line] = (await command("callbacks", "list", "--disposition", "applied", "--family", "song")).splitlines()
        assert line.split("\t")[5] == task
        assert (await command("callbacks", "list", "--task", other, "--limit", "1")).count("\n") == 1
        assert await command("callbacks", "list", "--family", "midi") == ""
        callback_id = line.split("\t")[0]
        replayed = json.loads(await command("callbacks", "replay", callback_id))
        assert (replayed["disposition"], replayed["changed"]) == ("applied", [])
        await command("callbacks", "replay", task, code=1)

        # Erasing, and purging.
        await command("clients", "erase", "studio", code=1)
        await command("clients", "revoke", "studio")
        assert counts(await command("clients", "erase", "studio"))["tasks"] == 1
        assert (await api.get(f"/v1/tasks/{task}")).status_code == 404
        gone = await submit(api)
        assert (await api.post(f"/v1/tasks/{gone}/cancel")).status_code == 200
        expected = {"idempotency_keys": 0, "notifications": 0, "callbacks": 0, "tasks": 1}
        assert counts(await command("purge", "--older-than", "0", "--dry-run")) == expected
        assert (await api.get(f"/v1/tasks/{gone}")).status_code == 200
        assert counts(await command("purge", "--older-than", "0")) == expected
        assert (await api.get(f"/v1/tasks/{gone}")).status_code == 404
        assert (await api.get(f"/v1/tasks/{other}")).status_code == 200
