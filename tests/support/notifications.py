"""Clients that are told of their tasks, a sender of notifications that a test turns by hand, and receivers."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook

from app.notifications.deliver import Notifier
from app.rules.loaded_state import Loaded, Milestone
from app.rules.task import Task
from app.tasks import notification_rows, state_store, writes
from tests.support.gateway import SONG, Running
from tests.support.receiver import OK, Receiver, Reply, plain

BUSY = plain("500 Oops", body=b"not today")


@dataclass(frozen=True)
class Told:
    """A client of a gateway, with its key and its secret."""

    gateway: Running
    name: str
    headers: dict[str, str]
    secret: str

    async def submit(self, webhook_url: str | None, **more: Any) -> dict[str, Any]:
        body = {"kind": "song.generate", "params": SONG, "webhook_url": webhook_url} | more
        answer = await self.gateway.api.post("/v1/tasks", json=body, headers=self.headers)
        assert answer.status_code == 202, answer.text
        return answer.json()

    async def canceled(self, webhook_url: str, **more: Any) -> dict[str, Any]:
        """A task that was canceled at once: it tells one thing."""
        task = await self.submit(webhook_url, **more)
        answer = await self.gateway.api.post(f"/v1/tasks/{task['id']}/cancel", headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def notifications(self, **params: Any) -> list[dict[str, Any]]:
        """The own outbound log, newest first."""
        answer = await self.gateway.api.get("/v1/notifications", params={"limit": 200, **params}, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def one(self) -> dict[str, Any]:
        """The only notification."""
        [found] = await self.notifications()
        return found


async def client_of(gateway: Running, name: str = "studio") -> Told:
    """Make a client."""
    answer = await gateway.api.post("/v1/clients", json={"name": name})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    return Told(gateway, name, {"Authorization": f"Bearer {made['api_key']}"}, made["webhook_secret"])


async def deliver(notifier: Notifier) -> None:
    """Post everything that is due, to the end."""
    while True:
        more = await notifier.step()
        if not notifier._posting and more != 0:
            return
        await finished(notifier)


def signed_by(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Whether one of the signatures is this secret's, at whatever time it was made. The official verifier refuses
    what is minutes off, as on a clock that was moved forward."""
    at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    expected = Webhook(secret).sign(headers["webhook-id"], at, body.decode())
    return expected in headers["webhook-signature"].split(" ")


def written(
    gateway: Running, url: str, count: int, *, name: str = "studio", at: datetime | None = None
) -> Sequence[writes.Row]:
    """Rows of notifications as a change would have written them, of tasks that do not exist any more."""
    context = gateway.gateway.context
    at = at or context.clock.now()
    task = Task(context.ids(), "song.generate", "song", name, True, at, webhook_url=url, updated_at=at)
    loaded = Loaded(tasks={task.id: task}, milestones=[Milestone(task.id, "succeeded", at)] * count)
    return notification_rows.new_rows(loaded, context.rules)


async def write(gateway: Running, rows: Sequence[writes.Row]) -> None:
    """Store notifications."""
    await gateway.gateway.context.db.write(state_store.save, [state_store.Part({writes.NEW_NOTIFICATIONS: rows})])


@dataclass
class Watching(Receiver):
    """A receiver that counts what it has at once. ``twice``: ids that it was sent while it had them already."""

    at_once: int = 0
    most_at_once: int = 0
    ids_at_once: Counter[str] = field(default_factory=Counter)
    twice: list[str] = field(default_factory=list)

    def seen(self) -> list[str]:
        """The ids of all posts, in order."""
        return [headers["webhook-id"] for headers in self.headers]


@asynccontextmanager
async def watching(*replies: Reply, hosts: Sequence[str] = ("127.0.0.1",)) -> AsyncIterator[Watching]:
    """A receiver that answers with each of these in turn, and then with the last one; OK if none is given."""
    left = list(replies) or [OK]
    receiver = Watching()
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        receiver.connections += 1
        receiver.at_once += 1
        receiver.most_at_once = max(receiver.most_at_once, receiver.at_once)
        webhook_id = ""
        try:
            await receiver.take(reader)
            webhook_id = receiver.headers[-1]["webhook-id"]
            receiver.ids_at_once[webhook_id] += 1
            if receiver.ids_at_once[webhook_id] > 1:
                receiver.twice.append(webhook_id)
            reply = left.pop(0) if len(left) > 1 else left[0]
            await reply(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            receiver.at_once -= 1
            receiver.ids_at_once[webhook_id] -= 1
            writer.close()
            serving.discard(task)

    first = await asyncio.start_server(serve, hosts[0], 0)
    receiver.port = first.sockets[0].getsockname()[1]
    servers = [first, *[await asyncio.start_server(serve, host, receiver.port) for host in hosts[1:]]]
    try:
        yield receiver
    finally:
        for server in servers:
            server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def silence(_writer: asyncio.StreamWriter) -> None:
    """No answer, ever."""
    await asyncio.sleep(600)


async def reset(writer: asyncio.StreamWriter) -> None:
    """The connection breaks."""
    writer.transport.abort()


def after_s(seconds: float, reply: Reply = OK) -> Reply:
    """A slow answer."""

    async def late(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        await reply(writer)

    return late


def once(event: asyncio.Event, reply: Reply = OK) -> Reply:
    """An answer that waits until a test lets it go."""

    async def held(writer: asyncio.StreamWriter) -> None:
        await event.wait()
        await reply(writer)

    return held


async def finished(notifier: Notifier) -> None:
    """Wait for what is being posted."""
    if posting := set(notifier._posting):
        await asyncio.wait(posting)
