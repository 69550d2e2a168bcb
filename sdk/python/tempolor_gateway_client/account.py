"""What a client learns of itself, of the account and of its notifications, typed. As all results these keep in ``raw``
the JSON as it came."""

from dataclasses import dataclass, field
from datetime import datetime

from tempolor_gateway_client.results import Document, optional, time, times


@dataclass(frozen=True, slots=True)
class Account:
    """The vendor's account, at most a minute old. ``balance``: None where the vendor's cannot be read; ``vendor``: its
    own fields."""

    balance: float | None
    vendor: Document
    as_of: datetime
    raw: Document = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Me:
    """The client of the API key. ``webhook_url`` and ``webhook_events`` (None: all types) are of its tasks that name
    none themselves. Times of use are known to the minute."""

    name: str
    admin: bool
    created_at: datetime
    key_last_used_at: datetime | None
    previous_key_until: datetime | None
    webhook_url: str | None
    webhook_events: list[str] | None
    raw: Document = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class StreamTicket:
    """What opens one stream until it expires, in place of an API key."""

    ticket: str = field(repr=False)
    expires_at: datetime
    raw: Document = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class LoggedNotification:
    """A notification in the gateway's outbound log. ``status``: ``pending``, ``delivered`` or ``dead``;
    ``last_status``: the receiver's HTTP status at the last attempt; ``next_attempt_at``: None once it has ended."""

    id: str
    client: str
    task_id: str
    type: str
    url: str
    status: str
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    last_attempt_at: datetime | None
    last_status: int | None
    last_error: str | None
    ended_at: datetime | None
    raw: Document = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class LoggedAttempt:
    """One attempt to post a notification. ``status``: of the answer, None where there was none; ``error``: why it was
    not delivered; ``answer``: the beginning of what the receiver answered."""

    at: datetime
    status: int | None
    error: str | None
    answer: str | None


@dataclass(frozen=True, slots=True)
class NotificationWithBody(LoggedNotification):
    """A notification with its latest attempts, oldest first, and its body, None where that cannot be read any more."""

    attempt_log: tuple[LoggedAttempt, ...]
    body: Document | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class PingAnswer:
    """The outcome of a test. ``status``: of the receiver's answer; ``answer``: the beginning of it."""

    webhook_id: str
    delivered: bool
    outcome: str
    status: int | None
    answer: str | None
    raw: Document = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A file in a kept zip. ``name``: its path there."""

    name: str
    bytes: int
    media_type: str


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """An input file that the gateway holds. ``url``: what a task's params name it by; it goes at ``expires_at`` unless
    a task needs it."""

    id: str
    url: str
    bytes: int
    sha256: str
    media_type: str
    expires_at: datetime
    raw: Document = field(repr=False, compare=False)


def zip_member(document: Document) -> ZipMember:
    """A file in a zip from its JSON."""
    return ZipMember(document["name"], document["bytes"], document["media_type"])


def uploaded_file(document: Document) -> UploadedFile:
    """An upload from its JSON."""
    known = {name: document[name] for name in ("id", "url", "bytes", "sha256", "media_type")}
    return UploadedFile(**known, expires_at=time(document["expires_at"]), raw=document)


def account(document: Document) -> Account:
    """An account from its JSON. This and its likes raise what ``results.read`` turns into ``UnexpectedAnswer``."""
    return Account(document["balance"], document["vendor"], time(document["as_of"]), document)


def me(document: Document) -> Me:
    """A client from its JSON."""
    return Me(
        name=document["name"],
        admin=document["admin"],
        created_at=time(document["created_at"]),
        **times(document, ("key_last_used_at", "previous_key_until")),
        **optional(document, ("webhook_url", "webhook_events")),
        raw=document,
    )


def stream_ticket(document: Document) -> StreamTicket:
    """A ticket from its JSON."""
    return StreamTicket(document["ticket"], time(document["expires_at"]), document)


def logged_notification(document: Document) -> LoggedNotification:
    """A row of the outbound log from its JSON."""
    return LoggedNotification(**_logged(document))


def notification_with_body(document: Document) -> NotificationWithBody:
    """A notification with its body and its attempts from its JSON."""
    attempts = tuple(_attempt(one) for one in document["attempt_log"])
    return NotificationWithBody(**_logged(document), attempt_log=attempts, body=document["body"])


def ping_answer(document: Document) -> PingAnswer:
    """The outcome of a test from its JSON."""
    return PingAnswer(
        **{name: document[name] for name in ("webhook_id", "delivered", "outcome")},
        **optional(document, ("status", "answer")),
        raw=document,
    )


def _logged(document: Document) -> Document:
    return {
        **{name: document[name] for name in ("id", "client", "task_id", "type", "url", "status", "attempts")},
        "created_at": time(document["created_at"]),
        **times(document, ("next_attempt_at", "last_attempt_at", "ended_at")),
        **optional(document, ("last_status", "last_error")),
        "raw": document,
    }


def _attempt(document: Document) -> LoggedAttempt:
    return LoggedAttempt(at=time(document["at"]), **optional(document, ("status", "error", "answer")))
