"""What the gateway answers, typed. Fields that this client does not know are kept in ``raw``, the JSON as it came."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from tempolor_gateway_client.errors import UnexpectedAnswer

Document = dict[str, Any]
Made = TypeVar("Made")

_ENDED: Final = frozenset({"succeeded", "part_failed", "failed", "expired", "canceled"})
_USABLE: Final = frozenset({"succeeded", "part_failed"})


@dataclass(frozen=True, slots=True)
class ArchivedCopy:
    """The gateway's own copy of a file. ``status``: ``pending``, ``kept``, or ``failed`` with its ``reason``; ``url``:
    a link that lives for days."""

    status: str
    bytes: int | None
    sha256: str | None
    media_type: str | None
    url: str | None = field(repr=False)
    reason: str | None


@dataclass(frozen=True, slots=True)
class Artifact:
    """A result file. ``status``: ``pending``, ``ready`` or ``failed``; ``url``: signed, and dead after
    ``expires_at``, so it is not shown by ``repr``; ``archive``: None where the gateway keeps no copies."""

    status: str
    url: str | None = field(repr=False)
    expires_at: datetime | None
    archive: ArchivedCopy | None
    raw: Document = field(repr=False, compare=False)

    @property
    def urls(self) -> tuple[str, ...]:
        """All of its URLs: one, but for stems that came as several files."""
        return tuple(_urls_in(self.raw.get("url")))


@dataclass(frozen=True, slots=True)
class Item:
    """One work that the vendor made of a task. ``artifacts``: by name (``stream``, ``audio``, ``audio_hi``,
    ``bgm``, ``stems``, ``midi``); ``vendor``: the vendor's own fields, merged."""

    item_id: str
    status: str
    title: str | None
    style: str | None
    model: str | None
    duration_s: float | None
    lyrics: str | None = field(repr=False)
    lyrics_sections: list[Any] | None = field(repr=False)
    artifacts: dict[str, Artifact]
    vendor: Document = field(repr=False)
    last_callback_at: datetime | None
    last_query_at: datetime | None
    raw: Document = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class TaskError:
    """Why a task has no usable result."""

    code: str
    message: str
    retryable: bool
    vendor_status: int | None
    vendor_request_id: str | None
    raw: Document = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class WaitingFor:
    """Why a queued task waits. ``until``: when something is tried next, None where nobody knows."""

    reason: str
    since: datetime | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class ExpectedTime:
    """Between these times eight of ten tasks of its kind became playable lately."""

    from_: datetime
    to: datetime


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it was at one moment; of two, the one with the greater ``version`` is newer. Times are aware.
    ``warnings``: words for what is odd though nothing has failed. ``waiting_for``: None for what is not queued, and
    for what only waits for its turn. ``submitted_model``: the model that was sent, if another than asked."""

    id: str
    kind: str
    status: str
    client: str
    reference: str | None
    metadata: Document
    params: Document
    submitted_model: str | None
    webhook_url: str | None
    webhook_events: list[str] | None
    retry_of: str | None
    items: tuple[Item, ...]
    waiting_for: WaitingFor | None
    expected_playable_at: ExpectedTime | None
    error: TaskError | None
    warnings: tuple[str, ...]
    version: int
    created_at: datetime
    submitted_at: datetime | None
    playable_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime
    deadline_at: datetime | None
    raw: Document = field(repr=False, compare=False)

    @property
    def ended(self) -> bool:
        """It has a final status. (Only a late word of the vendor's changes that.)"""
        return self.status in _ENDED

    @property
    def playable(self) -> bool:
        """There is a result to use now; extras may still be to come."""
        return self.usable or (self.status == "main_succeeded" and self.playable_at is not None)

    @property
    def usable(self) -> bool:
        """It has ended with a result: ``succeeded``, or ``part_failed``, of which something is missing."""
        return self.status in _USABLE

    @property
    def complete(self) -> bool:
        """It has ended, and no file is still to come."""
        files = [file for item in self.items for file in item.artifacts.values()]
        return self.ended and all(file.status != "pending" for file in files)


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One thing that happened to a task. ``version``: the task's after it; entries of one ``seq`` happened together."""

    seq: int
    at: datetime
    type: str
    version: int
    detail: Document
    raw: Document = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification as a receiver gets it. ``id``: the same at every repeat; ``type``: as in ``task.succeeded``;
    ``timestamp``: of the change; ``task``: as it was then, None where the type is not about a task (a ping)."""

    id: str
    type: str
    timestamp: datetime
    task: Task | None
    raw: Document = field(repr=False, compare=False)


def read(make: Callable[[Document], Made], document: Any) -> Made:
    """A result from its JSON. Raises ``UnexpectedAnswer``."""
    try:
        return make(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnexpectedAnswer(f"the answer is not of the known shape: {error!r}", code="unexpected_answer") from error


def read_all(make: Callable[[Document], Made], page: Any) -> tuple[Made, ...]:
    """The results of a list's answer. Raises ``UnexpectedAnswer``."""
    return read(lambda document: tuple(make(one) for one in document["data"]), page)


def task(document: Document) -> Task:
    """A task from its JSON. This and its likes raise what ``read`` turns into ``UnexpectedAnswer``."""
    failure, wait = document.get("error"), document.get("waiting_for")
    expected = document.get("expected_playable_at")
    return Task(
        id=document["id"],
        kind=document["kind"],
        status=document["status"],
        version=document["version"],
        client=document["client"],
        metadata=document.get("metadata") or {},
        params=document.get("params") or {},
        items=tuple(_item(one) for one in document.get("items") or ()),
        waiting_for=_waiting_for(wait) if wait else None,
        expected_playable_at=ExpectedTime(time(expected["from"]), time(expected["to"])) if expected else None,
        error=_task_error(failure) if failure else None,
        warnings=tuple(document.get("warnings") or ()),
        created_at=time(document["created_at"]),
        updated_at=time(document["updated_at"]),
        **times(document, ("submitted_at", "playable_at", "finished_at", "deadline_at")),
        **optional(document, ("reference", "webhook_url", "webhook_events", "retry_of", "submitted_model")),
        raw=document,
    )


def _waiting_for(document: Document) -> WaitingFor:
    return WaitingFor(str(document["reason"]), **times(document, ("since", "until")))


def timeline_entry(document: Document) -> TimelineEntry:
    """An entry of a timeline from its JSON."""
    return TimelineEntry(
        seq=document["seq"],
        at=time(document["at"]),
        type=document["type"],
        version=document["version"],
        detail=document.get("detail") or {},
        raw=document,
    )


def notification(webhook_id: str, document: Document) -> Notification:
    """A notification from its body."""
    kind = document["type"]
    about = task(document["data"]) if kind.startswith("task.") else None
    return Notification(webhook_id, kind, time(document["timestamp"]), about, document)


def _item(document: Document) -> Item:
    artifacts = document.get("artifacts") or {}
    return Item(
        item_id=document["item_id"],
        status=document["status"],
        artifacts={name: _artifact(one) for name, one in artifacts.items()},
        vendor=document.get("vendor") or {},
        **times(document, ("last_callback_at", "last_query_at")),
        **optional(document, ("title", "style", "model", "duration_s", "lyrics", "lyrics_sections")),
        raw=document,
    )


def _artifact(document: Document) -> Artifact:
    kept = document.get("archive")
    return Artifact(
        document["status"],
        next(_urls_in(document.get("url")), None),
        archive=_archived(kept) if kept else None,
        **times(document, ("expires_at",)),
        raw=document,
    )


def _urls_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _urls_in(part)


def _archived(document: Document) -> ArchivedCopy:
    values = optional(document, ("bytes", "sha256", "media_type", "url", "reason"))
    return ArchivedCopy(status=document["status"], **values)


def _task_error(document: Document) -> TaskError:
    return TaskError(
        code=document["code"],
        message=document["message"],
        retryable=bool(document.get("retryable")),
        **optional(document, ("vendor_status", "vendor_request_id")),
        raw=document,
    )


def optional(document: Document, names: Iterable[str]) -> Document:
    return {name: document.get(name) for name in names}


def times(document: Document, names: Iterable[str]) -> dict[str, Any]:
    return {name: time(document[name]) if document.get(name) else None for name in names}


def time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
