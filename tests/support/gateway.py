"""A gateway on the running loop, over real sockets, with a client that speaks to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import UUID

import httpx
import sqlalchemy as sa
from pydantic import BaseModel

from app.database import tables
from app.database.database import Database
from app.gateway import Gateway, build
from app.main import Server, listen, make_server
from app.runtime.clock import Clock
from app.settings import Settings
from tests.support.plain_http import client as plain_client
from tests.support.virtual_time import VirtualClock, still_database, virtual_loop

ADMIN_KEY = "admin-key-0123456789abcdef0123456789abcdef"
SECRET = "callback-secret-0123456789abcdef0123456789"
SONG = {"prompt": "slow pop ballad, piano", "model": "tempolor-latest"}
PARAMS: dict[str, dict[str, Any]] = {
    "song.generate": SONG,
    "song.extend": {"item_id": "t2m_1", "start_time": 30},
    "instrumental.generate": {"prompt": "house, 120 BPM", "model": "TemPolor i4"},
    "instrumental.extend": {"item_id": "123", "start_time": 10},
    "lyrics.generate": {"prompt": "rain"},
    "stems.create": {"url": "https://files.example/a.mp3"},
    "midi.create": {"url": "https://files.example/a.mp3"},
}


@dataclass
class Running:
    """A started gateway. ``api`` carries the admin's key."""

    gateway: Gateway
    url: str
    api: httpx.AsyncClient
    settings: Settings

    async def submit(self, kind: str = "song.generate", **more: Any) -> dict[str, Any]:
        """Submit one task, and return it as it was accepted."""
        body = {"kind": kind, "params": PARAMS[kind]} | more
        answer = await self.api.post("/v1/tasks", json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()

    async def task(self, task_id: str) -> dict[str, Any]:
        answer = await self.api.get(f"/v1/tasks/{task_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def timeline(self, task_id: str) -> list[dict[str, Any]]:
        answer = await self.api.get(f"/v1/tasks/{task_id}/timeline")
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def until(self, task_id: str, *statuses: str, timeout_s: float = 15) -> dict[str, Any]:
        """Wait until a task has one of these statuses."""

        status = sa.select(tables.tasks.c.status).where(tables.tasks.c.id == UUID(task_id))

        async def found() -> dict[str, Any] | None:
            # The database is asked first: a call of the API takes several times as long.
            if await self.gateway.context.db.read(sa.Connection.scalar, status) not in statuses:
                return None
            task = await self.task(task_id)
            return task if task["status"] in statuses else None

        try:
            return await eventually(found, timeout_s)
        except TimeoutError:
            task = await self.task(task_id)
            events = [(one["type"], one["detail"]) for one in await self.timeline(task_id)]
            raise AssertionError(f"still {task['status']}, not {statuses}: {task} {events}") from None

    def callback_url(self, family: str, task_id: Any = None) -> str:
        """The URL of a callback, as the vendor would have it."""
        return f"{self.url}/callbacks/{family}/{self.gateway.context.tokens.sign(family, task_id)}"

    async def call_back(self, family: str, body: Any, task_id: Any = None) -> httpx.Response:
        """Post a callback. ``body``: bytes as they are, else JSON."""
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        return await self.api.post(self.callback_url(family, task_id), **content)


LOOK_S: Final = 0.02
UNCHANGED_S: Final = 0.5


async def eventually(check: Callable[[], Awaitable[Any]], timeout_s: float = 15, every_s: float | None = None) -> Any:
    """The first true result of ``check``. Raises TimeoutError. Without ``every_s`` it looks often; on virtual time,
    where each look costs as much as ever, when something was committed, and twice a second."""
    loop, virtual = asyncio.get_running_loop(), virtual_loop()
    end = loop.time() + timeout_s
    while True:
        commits = virtual.commits if virtual else 0
        if found := await check():
            return found
        if loop.time() > end:
            raise TimeoutError
        await asyncio.sleep(every_s or LOOK_S)
        if virtual and every_s is None:
            await virtual.until_commit_after(commits, UNCHANGED_S)


async def _is(server: Server) -> bool:
    return bool(server.started)


class GivenSettings(Settings):
    """Settings that look for nothing in the environment, which would take longer than most tests need a gateway."""

    def __init__(self, **values: Any) -> None:
        BaseModel.__init__(self, **values)


def make_settings(database_url: str, **given: Any) -> Settings:
    """Settings for a test: quick loops, everything else as by default."""
    values: dict[str, Any] = {
        "database_url": database_url,
        "public_url": "http://127.0.0.1:9",
        "callback_secrets": SECRET,
        "tempolor_api_key": "Tempo-sandbox-0123456789abcdef0123456789abcdef",
        "tempolor_base_url": "http://127.0.0.1:9",
        "bootstrap_admin_key": ADMIN_KEY,
        # On virtual time a look that finds nothing costs as much as ever, and there are more of them in a wait.
        "loop_idle_s": 1 if virtual_loop() else 0.15,
        "drain_s": 0.1,
    }
    return GivenSettings(**(values | given))


def make_gateway(
    settings: Settings,
    *,
    workers: bool,
    clock: Clock | None = None,
    watch_clock: bool | None = None,
    database: Database | None = None,
) -> Gateway:
    """A gateway that is not started, on the running loop's time. A clock of the test's is not held against the
    database's unless ``watch_clock`` says so. ``database``: an open one, in place of the settings'."""
    loop = virtual_loop()
    if loop is not None:
        clock = clock or VirtualClock(loop)
        database = database or still_database(settings.database_url.get_secret_value(), loop)
    watched = clock is None if watch_clock is None else watch_clock
    return build(settings, workers=workers, clock=clock, watch_clock=watched, database=database)


@asynccontextmanager
async def running_gateway(
    database_url: str,
    *,
    workers: bool = True,
    clock: Clock | None = None,
    watch_clock: bool | None = None,
    database: Database | None = None,
    **given: Any,
) -> AsyncIterator[Running]:
    """A gateway that serves on a free port, and is stopped at the end; otherwise as ``make_gateway``."""
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    settings = make_settings(database_url, public_url=url, **given)
    gateway = make_gateway(settings, workers=workers, clock=clock, watch_clock=watch_clock, database=database)
    await gateway.start()
    server = make_server(gateway.app(), host="127.0.0.1", port=0)
    serving = asyncio.create_task(server.serve([listener]))
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    try:
        async with plain_client(url, headers=headers, timeout=20) as api:
            await eventually(partial(_is, server), every_s=0.001)
            yield Running(gateway, url, api, settings)
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        await gateway.stop()
