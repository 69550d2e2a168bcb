"""What an answer of the vendor means: pure reading, from status and bytes to a value.

For a submission the difference between "certainly not taken" and "we cannot know" is what keeps a task from
being billed twice (G5), so every answer that is not plainly one or the other is ``Unknown``.
"""

from dataclasses import dataclass
from typing import Any, Final

from app.domain.observation import Reading
from app.vendor import codes, wire
from app.vendor.codes import Meaning, Remedy
from app.vendor.kinds import Family

MOST_WORDS: Final = 500
"""Characters kept of the vendor's message."""


@dataclass(frozen=True, slots=True)
class Response:
    """What came over HTTP, read to its end. ``retry_after_s``: what ``Retry-After`` asks for, if it is there."""

    http_status: int
    content: bytes
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The vendor took the task and named its items (at least one)."""

    item_ids: tuple[str, ...]
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The vendor certainly did not take it. ``status`` is its business code, or None where there was none."""

    meaning: Meaning
    message: str
    status: int | None = None
    request_id: str | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Whether it was taken cannot be known. ``reason`` is a short word for logs and metrics."""

    reason: str


SubmitAnswer = Accepted | Refused | Unknown


@dataclass(frozen=True, slots=True)
class Answered:
    """Items that the vendor showed; those asked for and absent here are unknown to it."""

    readings: tuple[Reading, ...]
    oddities: dict[str, int]


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A refusal that one bad id can cause. ``no_such_work`` is 400008."""

    status: int
    message: str

    @property
    def no_such_work(self) -> bool:
        return self.status == codes.NO_SUCH_WORK


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer to the question: try again later. ``status`` is the business code if there was one."""

    reason: str
    status: int | None = None
    retry_after_s: float | None = None

    @property
    def key_rejected(self) -> bool:
        return self.status == codes.KEY_REJECTED


QueryAnswer = Answered | Spoiled | Unanswered


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the vendor wraps around everything. ``status`` is its business code."""

    status: int
    message: str
    request_id: str | None
    data: Any


def read_submit_answer(response: Response) -> SubmitAnswer:
    """Sort an answer to a submission into accepted, refused, and unknown.

    Ids in the answer make it accepted whatever its code says: a task that the vendor named must not be sent
    again. A refusal must be plain: a 4xx, or an envelope with a refusing code, and no ids.
    """
    http_status = response.http_status
    envelope = read_envelope(response.content)
    item_ids = _item_ids(envelope) if envelope else ()
    if envelope and item_ids:
        named = Accepted(item_ids, envelope.request_id)
        return named if http_status < 300 else Unknown(f"http_{http_status}_with_ids")
    if 400 <= http_status < 500:
        return _refused_http(http_status, envelope, response.retry_after_s)
    if http_status >= 300:
        return Unknown(f"http_{http_status}")
    if envelope is None:
        return Unknown("no_envelope")
    if envelope.status == codes.SUCCESS:
        return Unknown("no_item_ids")
    meaning = codes.on_submit(envelope.status)
    return Refused(meaning, envelope.message, envelope.status, envelope.request_id, response.retry_after_s)


def _refused_http(http_status: int, envelope: Envelope | None, retry_after_s: float | None) -> Refused:
    status, message, request_id = None, f"The vendor answered HTTP {http_status}.", None
    if envelope is not None and envelope.status != codes.SUCCESS:
        status, message, request_id = envelope.status, envelope.message, envelope.request_id
    if http_status in (401, 403):
        meaning = codes.on_submit(codes.KEY_REJECTED)
    elif http_status == 429:
        meaning = Meaning("vendor_rate_limited", Remedy.SLOW_DOWN, retryable=True)
    else:
        meaning = codes.on_submit(status) if status is not None else codes.UNDOCUMENTED
    return Refused(meaning, message, status, request_id, retry_after_s)


def read_answer(response: Response) -> Envelope | Unanswered:
    """The envelope of an answer to a question, or why there is none."""
    if response.http_status in (401, 403):
        return Unanswered(f"http_{response.http_status}", codes.KEY_REJECTED, response.retry_after_s)
    if response.http_status >= 300:
        return Unanswered(f"http_{response.http_status}", None, response.retry_after_s)
    return read_envelope(response.content) or Unanswered("no_envelope", None, response.retry_after_s)


def read_query_answer(response: Response, family: Family) -> QueryAnswer:
    """The items that the vendor shows, or what it says instead."""
    found = read_answer(response)
    if isinstance(found, Unanswered):
        return found
    if found.status in codes.SPOILS_BATCH:
        return Spoiled(found.status, found.message)
    if found.status != codes.SUCCESS:
        return Unanswered(str(found.status), found.status)
    items = found.data.get(family.list_key) if isinstance(found.data, dict) else None
    if not isinstance(items, list):
        return Unanswered("no_list", found.status)
    body = wire.read_items(items, family)
    return Answered(tuple(body.readings), dict(body.oddities))


def read_envelope(content: bytes) -> Envelope | None:
    """The vendor's envelope, or None for anything else. The business code is ``status``, not ``code``."""
    try:
        document = wire.decode(content)
    except wire.Malformed:
        return None
    if not isinstance(document, dict):
        return None
    status = document.get("status")
    if isinstance(status, bool) or not isinstance(status, int):
        return None
    message, request_id = document.get("message"), document.get("request_id")
    return Envelope(
        status,
        wire.clean_text(message)[:MOST_WORDS] if isinstance(message, str) else "",
        wire.clean_text(request_id)[:MOST_WORDS] if isinstance(request_id, str) else None,
        document.get("data"),
    )


def _item_ids(envelope: Envelope) -> tuple[str, ...]:
    named = envelope.data.get("item_ids") if isinstance(envelope.data, dict) else None
    if not isinstance(named, list):
        return ()
    read = (wire.read_item_id(one) for one in named)
    return tuple(dict.fromkeys(one for one in read if one is not None))


def result_of(answer: SubmitAnswer | QueryAnswer) -> str:
    """An answer as a metric's label: a documented code, or a short word."""
    match answer:
        case Accepted() | Answered():
            return str(codes.SUCCESS)
        case Refused():
            return str(answer.status) if answer.status in codes.ON_SUBMIT else answer.meaning.code
        case Spoiled():
            return str(answer.status)
        case Unanswered():
            return str(answer.status) if answer.status in codes.ON_SUBMIT else "unanswered"
        case Unknown():
            return "unknown"
