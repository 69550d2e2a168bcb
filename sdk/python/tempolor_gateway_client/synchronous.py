"""The client for plain programs: the same methods, which wait for their results."""

import ssl
from collections.abc import Generator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

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
from tempolor_gateway_client.asynchronous import AsyncGatewayClient
from tempolor_gateway_client.follow import TaskStream
from tempolor_gateway_client.loop_thread import LoopThread
from tempolor_gateway_client.requests import UNCHANGED, LyricsForm, NewTask, Unchanged, Until, View
from tempolor_gateway_client.results import Task, TimelineEntry
from tempolor_gateway_client.retries import Retries


class SyncTaskStream:
    """A ``TaskStream`` without ``await``."""

    def __init__(self, thread: LoopThread, stream: TaskStream) -> None:
        self._stream = stream
        self._tasks = thread.iterate(stream)

    @property
    def position(self) -> str | None:
        """Up to where everything was told, for another stream to go on from."""
        return self._stream.position

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Task:
        return next(self._tasks)

    def close(self) -> None:
        """Give the connection back."""
        self._tasks.close()


class GatewayClient:
    """``AsyncGatewayClient`` without ``await``: its methods, arguments and errors. May be used by several threads at
    once, each iterator by one. A thread of its own does the work; ``close`` ends it, and every call raises
    ``RuntimeError`` from then on."""

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
        self._client = AsyncGatewayClient(
            base_url, api_key, timeout_s=timeout_s, retries=retries, trust_env=trust_env, tls=tls
        )
        self._thread = LoopThread()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End what still runs, and close all connections. A second call does nothing."""
        self._thread.stop(self._client.close())

    def submit(
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
        """Submit a task; it is durable when this returns."""
        return self._thread.run(
            self._client.submit(
                kind,
                params,
                reference=reference,
                metadata=metadata,
                webhook_url=webhook_url,
                webhook_events=webhook_events,
                idempotency_key=idempotency_key,
            )
        )

    def submit_many(self, tasks: Sequence[NewTask], *, idempotency_key: str | None = None) -> tuple[Task, ...]:
        """Submit up to 100 tasks, all or none."""
        return self._thread.run(self._client.submit_many(tasks, idempotency_key=idempotency_key))

    def adopt(self, family: str, item_ids: Sequence[str], *, client: str | None = None) -> tuple[Task, ...]:
        """For admins: follow items that another system submitted, for a client."""
        return self._thread.run(self._client.adopt(family, item_ids, client=client))

    def get(self, task_id: str) -> Task:
        """A task as it is."""
        return self._thread.run(self._client.get(task_id))

    def get_by_item(self, item_id: str) -> Task:
        """The task that holds an item of the vendor's."""
        return self._thread.run(self._client.get_by_item(item_id))

    def wait(self, task_id: str, until: Until = "final", timeout_s: float | None = None) -> Task:
        """The task as soon as it is ``until``."""
        return self._thread.run(self._client.wait(task_id, until, timeout_s))

    def stream(self, task_id: str) -> SyncTaskStream:
        """The task as it is, then at each change, until it has ended."""
        return SyncTaskStream(self._thread, self._client.stream(task_id))

    def stream_all(self, position: str | None = None) -> SyncTaskStream:
        """All tasks at each change, for ever, from now on or from a ``position``."""
        return SyncTaskStream(self._thread, self._client.stream_all(position))

    def stream_ticket(self) -> StreamTicket:
        """A ticket that opens one stream within a minute."""
        return self._thread.run(self._client.stream_ticket())

    def save_artifact(self, item_id: str, name: str, to: str | Path, *, member: str | None = None) -> int:
        """Fetch a result file into a file of this machine; how many bytes it has."""
        return self._thread.run(self._client.save_artifact(item_id, name, to, member=member))

    def artifact_members(self, item_id: str, name: str) -> tuple[ZipMember, ...]:
        """What is in a kept zip."""
        return self._thread.run(self._client.artifact_members(item_id, name))

    def lyrics(self, item_id: str, form: LyricsForm = "lrc") -> str:
        """The aligned lyrics of an item as the text of a subtitle file."""
        return self._thread.run(self._client.lyrics(item_id, form))

    def upload(
        self, audio: bytes, filename: str = "upload", media_type: str = "application/octet-stream"
    ) -> UploadedFile:
        """Hand an audio file to the gateway, for the vendor to fetch."""
        return self._thread.run(self._client.upload(audio, filename, media_type))

    def timeline(self, task_id: str) -> tuple[TimelineEntry, ...]:
        """Everything that happened to a task, oldest first."""
        return self._thread.run(self._client.timeline(task_id))

    def cancel(self, task_id: str) -> Task:
        """End a task that is still queued."""
        return self._thread.run(self._client.cancel(task_id))

    def retry(self, task_id: str, *, idempotency_key: str | None = None) -> Task:
        """Submit an ended task again; the new task."""
        return self._thread.run(self._client.retry(task_id, idempotency_key=idempotency_key))

    def refresh(self, task_id: str) -> Task:
        """Have the gateway ask the vendor now."""
        return self._thread.run(self._client.refresh(task_id))

    def notifications(
        self, *, task_id: str | None = None, status: str | None = None, page_size: int = 100
    ) -> Generator[LoggedNotification, None, None]:
        """The outbound log, newest first."""
        return self._thread.iterate(self._client.notifications(task_id=task_id, status=status, page_size=page_size))

    def notification(self, notification_id: str) -> NotificationWithBody:
        """One notification with its body and its attempts."""
        return self._thread.run(self._client.notification(notification_id))

    def redeliver(self, notification_id: str) -> LoggedNotification:
        """Send a notification again."""
        return self._thread.run(self._client.redeliver(notification_id))

    def redeliver_dead(self, since: datetime, *, client: str | None = None, dry_run: bool = False) -> int:
        """Send dead notifications again, or count them."""
        return self._thread.run(self._client.redeliver_dead(since, client=client, dry_run=dry_run))

    def test_webhook(self, url: str) -> PingAnswer:
        """Have the gateway post a signed ``gateway.ping`` to a URL."""
        return self._thread.run(self._client.test_webhook(url))

    def account(self) -> Account:
        """The vendor's account."""
        return self._thread.run(self._client.account())

    def me(self) -> Me:
        """The client of this key."""
        return self._thread.run(self._client.me())

    def update_me(
        self,
        *,
        webhook_url: str | Unchanged | None = UNCHANGED,
        webhook_events: Sequence[str] | Unchanged | None = UNCHANGED,
    ) -> Me:
        """Change the default webhook."""
        return self._thread.run(self._client.update_me(webhook_url=webhook_url, webhook_events=webhook_events))

    def rotate_webhook_secret(self) -> str:
        """Make a new webhook secret, shown this once."""
        return self._thread.run(self._client.rotate_webhook_secret())

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
    ) -> Generator[Task, None, None]:
        """Tasks, newest first."""
        return self._thread.iterate(
            self._client.list(
                status=status,
                kind=kind,
                reference=reference,
                client=client,
                created_after=created_after,
                created_before=created_before,
                finished_after=finished_after,
                finished_before=finished_before,
                view=view,
                page_size=page_size,
            )
        )
