"""``listen`` as a process: milestones arrive at a local receiver, signed, also over a restart of the gateway."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from standardwebhooks import Webhook

from app.tempolor.callback_tokens import Tokens
from tests.chaos.processes import free_port
from tests.support.commands import environment, run, running
from tests.support.databases import on_sqlite
from tests.support.gateway import SECRET, SONG, eventually
from tests.support.receiver import Receiver, plain, receiving
from tests.support.song_callbacks import done, song

WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BUSY = plain("500 Oops", body=b"not today")


class Listening:
    """A ``listen`` that runs. ``out`` and ``err``: what it has printed so far."""

    def __init__(self, process: asyncio.subprocess.Process, out: Path, err: Path) -> None:
        self.process = process
        self._out, self._err = out, err

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    async def until_said(self, text: str, times: int = 1) -> None:
        async def said() -> bool:
            assert self.process.returncode is None, self.err
            return self.err.count(text) >= times

        await eventually(said)


@asynccontextmanager
async def listening(*arguments: str, cwd: Path, **env: str) -> AsyncIterator[Listening]:
    out, err = cwd / "listen.out", cwd / "listen.err"
    clean = {"PATH": environment(None)["PATH"], **env}
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app", "listen", *arguments, env=clean, cwd=cwd, stdout=stdout, stderr=stderr
        )
    try:
        yield Listening(process, out, err)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def told(receiver: Receiver, secret: str) -> list[tuple[str, str]]:
    """The type and the task of each notification that came, its signature checked."""
    found = []
    for headers, body in zip(receiver.headers, receiver.bodies, strict=True):
        event: Any = Webhook(secret).verify(body, headers)
        assert event["data"]["items"] is not None
        found.append((event["type"], event["data"]["id"]))
    return found


@on_sqlite
async def test_each_milestone_is_forwarded_once_also_over_a_restart(tmp_path: Path, database_url: str) -> None:
    port = str(free_port())

    async def submit(api: httpx.AsyncClient, headers: dict[str, str]) -> str:
        answer = await api.post("/v1/tasks", json={"kind": "song.generate", "params": SONG}, headers=headers)
        return str(answer.json()["id"])

    async def call_back(api: httpx.AsyncClient, task: str, body: dict[str, Any]) -> None:
        token = Tokens([SECRET]).sign("song", UUID(task))
        assert (await api.post(f"/callbacks/song/{token}", content=json.dumps(body))).text == "success"

    serve = partial(running, "serve", "--workers-off", "--port", port, env=environment(database_url), cwd=tmp_path)
    async with receiving(BUSY) as receiver, serve() as served:
        made = (await served.api.post("/v1/clients", json={"name": "studio"})).json()
        headers = {"Authorization": f"Bearer {made['api_key']}"}
        old = await submit(served.api, headers)
        await call_back(served.api, old, done("t2m_0"))
        surroundings = {"TEMPOLOR_GATEWAY_URL": served.url, "TEMPOLOR_GATEWAY_KEY": made["api_key"]}
        async with listening("--to", receiver.url(), cwd=tmp_path, **surroundings) as listens:
            await listens.until_said("Listening.")
            [secret] = [word for word in listens.err.split() if word.startswith("whsec_")]
            task, others = await submit(served.api, headers), await submit(served.api, {})
            await call_back(served.api, others, done("t2m_9"))
            await call_back(served.api, task, song("t2m_1", "running"))

            async def came(count: int) -> bool:
                return listens.out.count("\n") == count

            await eventually(lambda: came(1))
            assert told(receiver, secret) == [("task.running", task)]
            assert await served.terminate() == 0
            await listens.until_said("connecting again in")
            # What happens while nobody is connected is not lost.
            async with serve() as again:
                await call_back(again.api, task, done("t2m_1"))
                await eventually(lambda: came(3))
                canceled = await submit(again.api, headers)
                await again.api.post(f"/v1/tasks/{canceled}/cancel", headers=headers)
                await eventually(lambda: came(4))
                listens.process.send_signal(signal.SIGINT)
                assert await asyncio.wait_for(listens.process.wait(), 10) == 130
            kinds = ["task.running", "task.playable", "task.succeeded", "task.canceled"]
            assert [kind for kind, _ in told(receiver, secret)] == kinds
            printed = [line.split("  ")[1:] for line in listens.out.splitlines()]
            assert printed[:3] == [[kind, task, "500", "not today"] for kind in kinds[:3]]
            assert made["api_key"] not in listens.out + listens.err
            assert "Traceback" not in listens.err


@on_sqlite
async def test_json_lines_and_a_secret_that_stays(tmp_path: Path, database_url: str) -> None:
    async with (
        receiving() as receiver,
        running("serve", "--workers-off", env=environment(database_url), cwd=tmp_path) as served,
    ):
        key = served.api.headers["Authorization"].removeprefix("Bearer ")
        arguments = ("--to", receiver.url(), "--url", f"{served.url}/", "--key", key, "--json")
        async with listening(*arguments, cwd=tmp_path, WEBHOOK_SECRET=WEBHOOK_SECRET) as listens:
            await listens.until_said("Listening.")
            task = (await served.api.post("/v1/tasks", json={"kind": "song.generate", "params": SONG})).json()["id"]
            await served.api.post(f"/v1/tasks/{task}/cancel")

            async def came() -> bool:
                return listens.out.endswith("\n")

            await eventually(came)
            [line] = [json.loads(line) for line in listens.out.splitlines()]
    assert told(receiver, WEBHOOK_SECRET) == [("task.canceled", task)]
    # It is known already, and what is printed is kept by terminals and by logs.
    assert WEBHOOK_SECRET not in listens.out + listens.err
    assert (line["type"], line["task_id"], line["status"], line["outcome"]) == ("task.canceled", task, 200, "delivered")
    assert line["webhook_id"] == receiver.headers[0]["webhook-id"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "localhost:3000", "--key", "k"], "--to: the URL must begin with http"),
        (["--to", "http://localhost:3000", "--key", "k", "--url", "gateway"], "--url: "),
        (["--to", "http://localhost:3000"], "TEMPOLOR_GATEWAY_KEY"),
        (["--to", "http://localhost:3000", "--key", "k", "--secret", "mine"], "--secret"),
    ],
)
async def test_what_cannot_be_followed_is_told(tmp_path: Path, arguments: list[str], said: str) -> None:
    ended = await run("listen", *arguments, env={"PATH": environment(None)["PATH"]}, cwd=tmp_path)
    assert (ended.code, ended.out) == (1, "")
    assert said in ended.err
    assert "Traceback" not in ended.err


@on_sqlite
async def test_a_wrong_key_ends_it(tmp_path: Path, database_url: str) -> None:
    env = environment(database_url)
    async with running("serve", "--workers-off", env=env, cwd=tmp_path) as served:
        wrong = await run(
            "listen", "--to", "http://127.0.0.1:9", "--url", served.url, "--key", "wrong", env=env, cwd=tmp_path
        )
        assert (wrong.code, "refused the API key (401)" in wrong.err) == (1, True)
        elsewhere = f"{served.url}/openapi.json"
        none = await run(
            "listen", "--to", "http://127.0.0.1:9", "--url", elsewhere, "--key", "wrong", env=env, cwd=tmp_path
        )
        assert (none.code, "no stream of a gateway" in none.err) == (1, True)
