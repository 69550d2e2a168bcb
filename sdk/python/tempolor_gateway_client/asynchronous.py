"""The client for programs that have an event loop."""

import asyncio
import ssl
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

from tempolor_gateway_client import account, results
from tempolor_gateway_client.account import (
    Account,
    LoggedNotification,
    Me,
    NotificationWithBody,
    PingAnswer,
    StreamTicket,
    UploadedFile,
    ZipMember,
)
from tempolor_gateway_client.errors import Conflict, WaitTimeout
from tempolor_gateway_client.files import save
from tempolor_gateway_client.follow import TaskStream
from tempolor_gateway_client.requests import UNCHANGED, LyricsForm, NewTask, Unchanged, Until, View
from tempolor_gateway_client.results import Document, Made, Task, TimelineEntry
from tempolor_gateway_client.retries import Retries
from tempolor_gateway_client.transport import Transport

MOST_HOLD_S: Final = 60.0
"""The gateway holds an answer no longer than this."""
WEBHOOK_TIMEOUT_S: Final = 15.0
"""How long the gateway waits for a receiver's answer."""
VENDOR_TIMEOUT_S: Final = 20.0
"""How long the gateway waits for the vendor's answer."""
GRACE_S: Final = 1.0
"""How much later than the gateway the client ends a wait, so that the last state still arrives."""
_PAUSE_S: Final = 0.5


class AsyncGatewayClient:
    """The gateway as one of its clients sees it.

    ``base_url``: as in ``http://gateway:8000``; ``timeout_s``: of one attempt of a call. Every call is repeated while
    the gateway cannot be reached, does not answer in time or says 429, 502, 503 or 504, as ``retries`` allows; all of
    them may arrive twice without harm. Every call raises ``GatewayError``, and ``Unavailable`` after the last repeat.
    ``trust_env``: whether proxies of the environment are used (never for a gateway on this machine); ``tls``: for an
    authority of your own.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        timeout_s: float = 10.0,
        retries: Retries | None = None,
        trust_env: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._transport = Transport(
            base_url, api_key, timeout_s=timeout_s, retries=retries or Retries(), trust_env=trust_env, tls=tls
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def submit(
        self,
        kind: str,
        params: Mapping[str, Any],
        *,
        reference: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        webhook_url: str | None = None,
        webhook_events: Sequence[str] | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Submit a task; it is durable when this returns, and made once however often it is repeated.

        ``kind``: as in ``song.generate``; ``params``: the vendor's; ``webhook_events``: as in ``task.succeeded``, None
        for all; ``idempotency_key``: 1 to 255 ASCII characters, for a submission that may be repeated by another
        process or after a restart; else one is made for this call. Raises ``InvalidRequest``, and
        ``IdempotencyMismatch`` for a key that stands for another request."""
        new = NewTask(
            kind=kind,
            params=params,
            reference=reference,
            metadata=metadata,
            webhook_url=webhook_url,
            webhook_events=webhook_events,
        )
        key = idempotency_key or str(uuid.uuid4())
        found = await self._transport.post("/v1/tasks", new.document(), idempotency_key=key)
        return results.read(results.task, found)

    async def submit_many(self, tasks: Sequence[NewTask], *, idempotency_key: str | None = None) -> tuple[Task, ...]:
        """Submit up to 100 tasks, all or none; the tasks in their order. Raises as ``submit`` does, with the faults of
        every bad one."""
        body = {"tasks": [one.document() for one in tasks]}
        key = idempotency_key or str(uuid.uuid4())
        return results.read_all(results.task, await self._transport.post("/v1/tasks/batch", body, idempotency_key=key))

    async def adopt(self, family: str, item_ids: Sequence[str], *, client: str | None = None) -> tuple[Task, ...]:
        """For admins: follow up to 50 items that another system submitted; a task for each, in their order, of the
        client of this name or (None) the own ones. Raises ``Conflict`` if one is another client's, ``Forbidden``."""
        body: dict[str, Any] = {"family": family, "item_ids": list(item_ids)}
        if client is not None:
            body["client"] = client
        return results.read_all(results.task, await self._transport.post("/v1/tasks/adopt", body))

    async def get(self, task_id: str) -> Task:
        """A task as it is. Raises ``NotFound``."""
        return results.read(results.task, await self._transport.get(_path(task_id)))

    async def get_by_item(self, item_id: str) -> Task:
        """The task that holds an item of the vendor's. Raises ``NotFound``."""
        return results.read(results.task, await self._transport.get(f"/v1/items/{_segment(item_id)}"))

    async def wait(self, task_id: str, until: Until = "final", timeout_s: float | None = None) -> Task:
        """The task as soon as it has ended or, with ``until="playable"``, can be played. It lives through restarts of
        the gateway. Raises ``WaitTimeout`` after ``timeout_s`` (None: never), ``NotFound``."""
        task: Task | None = None
        now = asyncio.get_running_loop().time
        end = None if timeout_s is None else now() + timeout_s
        try:
            async with asyncio.timeout(None if timeout_s is None else timeout_s + GRACE_S):
                while True:
                    hold_s = MOST_HOLD_S if end is None else min(MOST_HOLD_S, max(0.0, end - now()))
                    task = await self._hold(task_id, until, hold_s)
                    if task.ended or (until == "playable" and task.playable):
                        return task
                    if end is not None and now() >= end:
                        break
                    # A gateway that is about to stop answers at once.
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            pass
        state = f"it is {task.status}" if task else "it could not be read"
        raise WaitTimeout(f"task {task_id} is not {until} after {timeout_s:g} s: {state}", task)

    def stream(self, task_id: str) -> TaskStream:
        """The task as it is, then at each change; ends when the task has ended and nothing is still to come. Each
        version is told once, changes in quick succession as one. Raises ``NotFound``."""
        return TaskStream(self._transport, f"{_path(task_id)}/stream")

    def stream_all(self, position: str | None = None) -> TaskStream:
        """All of the client's tasks (an admin's: everybody's) at each change, for ever: from a ``position`` of an
        earlier stream, or beginning when the first is asked for. Each version is told once, changes in quick succession
        as one."""
        return TaskStream(self._transport, "/v1/stream", position)

    async def stream_ticket(self) -> StreamTicket:
        """A ticket for a browser's ``EventSource``, which sends no header: ``?ticket=`` opens one stream within a
        minute."""
        return results.read(account.stream_ticket, await self._transport.post("/v1/stream-tickets"))

    async def save_artifact(self, item_id: str, name: str, to: str | Path, *, member: str | None = None) -> int:
        """Fetch a result file into a file of this machine; how many bytes it has. ``member``: of a kept zip, only the
        file of this path. It is written beside ``to`` first: what is cut off leaves nothing there. Raises ``NotFound``,
        ``Conflict`` for one that is not there yet, ``GatewayError`` (``artifact_gone``)."""
        path = f"/v1/items/{_segment(item_id)}/artifacts/{_segment(name)}"
        if member is not None:
            path = f"{path}/members/{quote(member)}"
        return await save(self._transport, path, Path(to))

    async def artifact_members(self, item_id: str, name: str) -> tuple[ZipMember, ...]:
        """What is in a kept zip (``stems``, ``midi``). Raises as ``save_artifact`` does."""
        path = f"/v1/items/{_segment(item_id)}/artifacts/{_segment(name)}/members"
        return results.read_all(account.zip_member, await self._transport.get(path))

    async def lyrics(self, item_id: str, form: LyricsForm = "lrc") -> str:
        """The aligned lyrics of an item as the text of a subtitle file. Raises ``NotFound``, and ``Conflict`` where
        there are none yet."""
        return await self._transport.get_text(f"/v1/items/{_segment(item_id)}/lyrics.{form}")

    async def upload(
        self, audio: bytes, filename: str = "upload", media_type: str = "application/octet-stream"
    ) -> UploadedFile:
        """Hand an audio file of 50 MB at most to the gateway, for the vendor to fetch: its ``url`` is for ``params``.
        ``media_type``: as in ``audio/mp4``; mp3, WAV and FLAC need none. An attempt may take a second longer than
        ``timeout_s`` for each 128 KB. Raises ``InvalidRequest``, ``GatewayError`` (``archive_off``)."""
        found = await self._transport.post_bytes("/v1/uploads", audio, {"filename": filename}, media_type)
        return results.read(account.uploaded_file, found)

    async def timeline(self, task_id: str) -> tuple[TimelineEntry, ...]:
        """Everything that happened to a task, oldest first. Raises ``NotFound``."""
        found: list[TimelineEntry] = []
        query: dict[str, str] = {}
        while True:
            page = await self._transport.get(f"{_path(task_id)}/timeline", query)
            found += results.read_all(results.timeline_entry, page)
            cursor = results.read(lambda document: document.get("next_cursor"), page)
            if not cursor:
                return tuple(found)
            query = {"cursor": cursor}

    async def cancel(self, task_id: str) -> Task:
        """End a task that is still queued; one that is canceled stays so. Raises ``Conflict`` for any other,
        ``NotFound``."""
        try:
            return await self._do(task_id, "cancel")
        except Conflict:
            # Perhaps it was this call that canceled it, and its first answer was lost.
            task = await self.get(task_id)
            if task.status == "canceled":
                return task
            raise

    async def retry(self, task_id: str, *, idempotency_key: str | None = None) -> Task:
        """Submit an ended task again; the new task, whose ``retry_of`` names this one. ``idempotency_key``: as for
        ``submit``. Raises ``Conflict`` for one that has not ended, ``NotFound``."""
        return await self._do(task_id, "retry", idempotency_key or str(uuid.uuid4()))

    async def refresh(self, task_id: str) -> Task:
        """Have the gateway ask the vendor now; the task as it is then. Raises ``Conflict`` while it is queued,
        ``NotFound``; ``Unavailable`` while the vendor cannot be asked."""
        return await self._do(task_id, "refresh")

    def notifications(
        self, *, task_id: str | None = None, status: str | None = None, page_size: int = 100
    ) -> AsyncGenerator[LoggedNotification, None]:
        """The outbound log, newest first, read page by page. ``status``: ``pending``, ``delivered`` or ``dead``."""
        return self._pages(
            "/v1/notifications",
            {"task_id": task_id, "status": status, "limit": page_size},
            account.logged_notification,
        )

    async def notification(self, notification_id: str) -> NotificationWithBody:
        """One notification with its body and its attempts. Raises ``NotFound``."""
        found = await self._transport.get(f"/v1/notifications/{_segment(notification_id)}")
        return results.read(account.notification_with_body, found)

    async def redeliver(self, notification_id: str) -> LoggedNotification:
        """Send a notification again, under the same id. Raises ``NotFound``."""
        found = await self._transport.post(f"/v1/notifications/{_segment(notification_id)}/redeliver")
        return results.read(account.logged_notification, found)

    async def redeliver_dead(self, since: datetime, *, client: str | None = None, dry_run: bool = False) -> int:
        """Send the dead notifications written since a time again, or with ``dry_run`` only count them; how many there
        are. ``client``: for admins, whose; the own ones without it."""
        body: dict[str, Any] = {"since": since.isoformat(), "dry_run": dry_run}
        if client is not None:
            body["client"] = client
        found = await self._transport.post("/v1/notifications/redeliver", body)
        return results.read(lambda document: int(document["count"]), found)

    async def test_webhook(self, url: str) -> PingAnswer:
        """Have the gateway post a signed ``gateway.ping`` to a URL, and tell what was answered. Raises
        ``InvalidRequest``."""
        found = await self._transport.post("/v1/notifications/test", {"url": url}, hold_s=WEBHOOK_TIMEOUT_S)
        return results.read(account.ping_answer, found)

    async def account(self) -> Account:
        """The vendor's account. Raises ``Unavailable`` while the vendor does not tell it."""
        return results.read(account.account, await self._transport.get("/v1/account", hold_s=VENDOR_TIMEOUT_S))

    async def me(self) -> Me:
        """The client of this key."""
        return results.read(account.me, await self._transport.get("/v1/me"))

    async def update_me(
        self,
        *,
        webhook_url: str | Unchanged | None = UNCHANGED,
        webhook_events: Sequence[str] | Unchanged | None = UNCHANGED,
    ) -> Me:
        """Change the default webhook of tasks that are submitted from now on; None takes a value away. Raises
        ``InvalidRequest``."""
        body: dict[str, Any] = {}
        if not isinstance(webhook_url, Unchanged):
            body["webhook_url"] = webhook_url
        if not isinstance(webhook_events, Unchanged):
            body["webhook_events"] = None if webhook_events is None else [*webhook_events]
        return results.read(account.me, await self._transport.patch("/v1/me", body))

    async def rotate_webhook_secret(self) -> str:
        """Make a new webhook secret, shown this once; the old one signs beside it for a day. The one call that is not
        repeated: a second new secret would end the old one."""
        found = await self._transport.post_once("/v1/me/webhook-secret")
        return results.read(lambda document: str(document["webhook_secret"]), found)

    def list(  # noqa: PLR0913 - each is one of the route's
        self,
        *,
        status: str | Sequence[str] | None = None,
        kind: str | None = None,
        reference: str | None = None,
        client: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        finished_after: datetime | None = None,
        finished_before: datetime | None = None,
        view: View = "full",
        page_size: int = 100,
    ) -> AsyncGenerator[Task, None]:
        """Tasks, newest first, read page by page as they are asked for. ``status``: one or several; ``client``: for
        admins; times must be aware; ``view``: ``summary`` leaves out lyrics, also in ``params``, and ``vendor``,
        most of what a song weighs; ``page_size``: up to 200. Raises ``InvalidRequest``."""
        moments = {
            "created_after": created_after,
            "created_before": created_before,
            "finished_after": finished_after,
            "finished_before": finished_before,
        }
        query = {
            "status": [status] if isinstance(status, str) else status,
            "kind": kind,
            "reference": reference,
            "client": client,
            **{name: at.isoformat() if at else None for name, at in moments.items()},
            "view": view,
            "limit": page_size,
        }
        return self._pages("/v1/tasks", query, results.task)

    async def _hold(self, task_id: str, until: Until, hold_s: float) -> Task:
        query = {"wait": f"{hold_s:.3f}", "until": until}
        return results.read(results.task, await self._transport.get(_path(task_id), query, hold_s=hold_s))

    async def _do(self, task_id: str, action: str, idempotency_key: str | None = None) -> Task:
        found = await self._transport.post(f"{_path(task_id)}/{action}", idempotency_key=idempotency_key)
        return results.read(results.task, found)

    async def _pages(self, path: str, query: Document, make: Callable[[Document], Made]) -> AsyncGenerator[Made, None]:
        given = {name: value for name, value in query.items() if value is not None}
        while True:
            page = await self._transport.get(path, given)
            for one in results.read_all(make, page):
                yield one
            if not page.get("next_cursor"):
                return
            given["cursor"] = page["next_cursor"]


def _path(task_id: str) -> str:
    return f"/v1/tasks/{_segment(task_id)}"


def _segment(text: str) -> str:
    # Dots too: a segment that consists of them would climb.
    return quote(text, safe="").replace(".", "%2E")
