"""Read answers of the vendor: pure, from status and bytes to a value.

For a submission the difference between "certainly not taken" and "we cannot know" is what keeps a task from
being billed twice (G5), so every answer that is not plainly one or the other is ``Unknown``.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

from app.rules.observation import Reading
from app.tempolor import codes, decoding, item_readings
from app.tempolor.codes import Meaning
from app.tempolor.kinds import Family

MOST_WORDS: Final = 500
"""Characters kept of the vendor's message."""
MOST_ITEM_IDS: Final = 500
"""Ids read of one answer to a submission, as many as a task may have; the vendor names one, seldom a few."""
MOST_CODE_DIGITS: Final = 10
"""Of a business code; the documented ones have six."""
MOST_EXCERPT: Final = 2048
"""Characters shown of an answer that could not be read."""


@dataclass(frozen=True)
class Response:
    """An HTTP response, read to its end. ``retry_after_s``: what ``Retry-After`` asks for, if it is there."""

    http_status: int
    content: bytes
    retry_after_s: float | None = None

    @cached_property
    def document(self) -> Any:
        """The content, decoded; None where it is no JSON."""
        try:
            return decoding.decode(self.content)
        except decoding.Malformed:
            return None


Reason = Literal[
    "timeout",
    "request_invalid",
    "connection_failed",
    "tls_failed",
    "proxy_failed",
    "connection_lost",
    "bad_answer",
    "answer_too_large",
    "answer_encoding",
]


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No answer that can be read. ``maybe_sent``: a byte of the request may have gone out to the vendor."""

    reason: Reason
    maybe_sent: bool


@dataclass(frozen=True, slots=True)
class Accepted:
    """The vendor took the task and named its items (at least one). ``passed_over``: ids beyond ``MOST_ITEM_IDS``."""

    item_ids: tuple[str, ...]
    request_id: str | None
    passed_over: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """The vendor refused it: certainly not taken. ``status`` is its business code, or None where there was none."""

    meaning: Meaning
    message: str
    status: int | None = None
    request_id: str | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """The outcome is unknown: it may have been taken. ``reason`` is a short word for logs and metrics."""

    reason: str


SubmitAnswer = Accepted | Refused | Unknown


@dataclass(frozen=True, slots=True)
class Answered:
    """Items that the vendor showed. Those asked for and absent here are unknown to it if the answer was ``whole``: a
    list in the documented place of which every item could be read."""

    readings: tuple[Reading, ...]
    oddities: dict[str, int]
    whole: bool = True


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
    """No answer to the question: try again later. ``status`` is the business code if there was one; ``excerpt`` the
    beginning of what came instead of an answer."""

    reason: str
    status: int | None = None
    retry_after_s: float | None = None
    excerpt: str = ""

    @property
    def key_rejected(self) -> bool:
        return self.status == codes.KEY_REJECTED


QueryAnswer = Answered | Spoiled | Unanswered


@dataclass(frozen=True, slots=True)
class Envelope:
    """The vendor's envelope around every answer. ``status`` is its business code."""

    status: int
    message: str
    request_id: str | None
    data: Any


def read_submit_answer(response: Response | NoAnswer) -> SubmitAnswer:
    """Sort an answer to a submission into accepted, refused, and unknown.

    Accepted is a 2xx with ids, in an envelope that says success or at the top level without one (a proxy unwrapped
    it). Refused is a plain no: a 4xx, or an envelope with a refusing code, that names no item in any spelling. One
    that does both contradicts itself, and a task that the vendor may have must not be sent again. Refused is also
    what surely stayed here.
    """
    if isinstance(response, NoAnswer):
        if response.maybe_sent:
            return Unknown(response.reason)
        return Refused(codes.UNREACHABLE, f"The vendor could not be reached ({response.reason}).")
    http_status = response.http_status
    envelope = _envelope(response.document)
    if http_status in _SAYS_NOTHING or not (200 <= http_status < 300 or 400 <= http_status < 500):
        return Unknown(f"http_{http_status}")
    refused = http_status >= 400 or (envelope is not None and envelope.status != codes.SUCCESS)
    if refused and _NAMED.search(response.content):
        return Unknown("refused_with_ids")
    if http_status >= 400:
        return _refused_http(http_status, envelope, response.retry_after_s)
    if envelope is not None and refused:
        meaning = codes.on_submit(envelope.status, envelope.message)
        return Refused(meaning, envelope.message, envelope.status, envelope.request_id, response.retry_after_s)
    return _accepted(response.document, envelope) or Unknown("no_envelope" if envelope is None else "no_item_ids")


_SAYS_NOTHING: Final = frozenset({408, 499})
"""Somebody on the way gave up waiting, for the request or for the vendor: the vendor may have it."""


def _accepted(document: Any, envelope: Envelope | None) -> Accepted | None:
    """Read the ids that a 2xx names, in the documented place or at the top level."""
    within = envelope.data if envelope else None
    for place in (within, document):
        named = place.get("item_ids") if isinstance(place, dict) else None
        if not isinstance(named, list):
            continue
        read = (item_readings.read_item_id(one) for one in named[:MOST_ITEM_IDS])
        item_ids = tuple(dict.fromkeys(item_id for item_id in read if item_id is not None))
        if item_ids:
            passed_over = max(len(named) - MOST_ITEM_IDS, 0)
            return Accepted(item_ids, _short(document.get("request_id")) or None, passed_over)
    return None


_NAMED: Final = re.compile(rb'"item[_-]?ids?(?:\[\])?"\s*:\s*+(?!null\b|""|\[\s*\]|\{\s*\})', re.IGNORECASE)
"""A field that names items, however it is spelt, wherever it stands, and also in a body that is no JSON."""


def _refused_http(http_status: int, envelope: Envelope | None, retry_after_s: float | None) -> Refused:
    status, message, request_id = None, f"The vendor answered HTTP {http_status}.", None
    if envelope is not None and envelope.status != codes.SUCCESS:
        status, message, request_id = envelope.status, envelope.message, envelope.request_id
    meaning = codes.on_submit(status, message, http_status)
    return Refused(meaning, message, status, request_id, retry_after_s)


def read_answer(response: Response) -> Envelope | Unanswered:
    """Read the envelope of an answer to a question, or why there is none. A refusal that comes with an HTTP 4xx has
    one; any other answer with such a status is none."""
    http_status, envelope = response.http_status, _envelope(response.document)
    if 200 <= http_status < 300:
        return envelope or Unanswered("no_envelope", None, response.retry_after_s, _excerpt(response))
    if http_status in (401, 403):
        return Unanswered(f"http_{http_status}", codes.KEY_REJECTED, response.retry_after_s, _excerpt(response))
    if 400 <= http_status < 500 and envelope is not None and envelope.status != codes.SUCCESS:
        return envelope
    return Unanswered(f"http_{http_status}", None, response.retry_after_s, _excerpt(response))


def read_account(response: Response | NoAnswer) -> dict[str, Any] | Unanswered:
    """Read the account data that the vendor shows, or what it says instead."""
    if isinstance(response, NoAnswer):
        return Unanswered(response.reason)
    envelope = read_answer(response)
    if isinstance(envelope, Unanswered):
        return envelope
    if envelope.status != codes.SUCCESS or not isinstance(envelope.data, dict):
        return Unanswered(envelope.message or "no account in the answer", envelope.status)
    account: dict[str, Any] = item_readings.clean(envelope.data, item_readings.Oddities(int))
    return account


def read_query_answer(response: Response | NoAnswer, family: Family) -> QueryAnswer:
    """Read the items that the vendor shows, or what it says instead."""
    if isinstance(response, NoAnswer):
        return Unanswered(response.reason)
    envelope, listed = read_answer(response), None
    if isinstance(envelope, Envelope):
        if envelope.status in codes.SPOILS_BATCH:
            return Spoiled(envelope.status, envelope.message)
        if envelope.status != codes.SUCCESS:
            return Unanswered(str(envelope.status), envelope.status, response.retry_after_s, _excerpt(response))
        listed = envelope.data.get(family.list_key) if isinstance(envelope.data, dict) else None
    elif envelope.reason != "no_envelope":
        return envelope
    is_documented = isinstance(listed, list)
    items = listed if isinstance(listed, list) else _items_elsewhere(response.document, family)
    if items is None:
        return envelope if isinstance(envelope, Unanswered) else Unanswered("no_list", None, None, _excerpt(response))
    body = item_readings.read_items(items, family)
    whole = is_documented and len(body.readings) == len(items)
    return Answered(tuple(body.readings), dict(body.oddities), whole)


def _items_elsewhere(document: Any, family: Family) -> list[Any] | None:
    """Find items in an undocumented place or form: a list, one by itself, or an object of them by their ids; in
    ``data``, in its list, or beside the envelope. None where there are none: that an item is absent is never concluded
    from such an answer."""
    data = document.get("data") if isinstance(document, dict) else None
    holders = [one for one in (data, document) if isinstance(one, dict)]
    places = [*(one[name] for name in (family.list_key, "items") for one in holders if name in one), data]
    if isinstance(document, list) or _is_item(document):
        places.append(document)
    return next((items for place in places if (items := _plain_items(place))), None)


def _plain_items(place: Any) -> list[Any]:
    if isinstance(place, list):
        return [one for one in place if _is_item(one)]
    if not isinstance(place, dict):
        return []
    if _is_item(place):
        return [place]
    by_id = ((name, one) for name, one in place.items() if isinstance(one, dict) and isinstance(one.get("status"), str))
    return [one if _is_item(one) else {**one, "item_id": name} for name, one in by_id]


def _is_item(value: Any) -> bool:
    return isinstance(value, dict) and item_readings.read_item_id(value.get("item_id")) is not None


def _excerpt(response: Response) -> str:
    """The beginning of a body, for whoever wants to see what was wrong with it."""
    return item_readings.clean_text(response.content[: 4 * MOST_EXCERPT].decode(errors="replace"))[:MOST_EXCERPT]


def _envelope(document: Any) -> Envelope | None:
    """Read the envelope; the business code is ``status``, not ``code``."""
    if not isinstance(document, dict):
        return None
    status = _code(document.get("status"))
    if status is None:
        return None
    request_id = document.get("request_id")
    return Envelope(
        status,
        _short(document.get("message")),
        _short(request_id) if isinstance(request_id, str) else None,
        document.get("data"),
    )


def _code(value: Any) -> int | None:
    """Read a business code: a whole number, or its decimal text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= MOST_CODE_DIGITS:
        return int(value)
    is_code = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**MOST_CODE_DIGITS
    return value if is_code else None


def _short(words: Any) -> str:
    return item_readings.clean_text(words)[:MOST_WORDS] if isinstance(words, str) else ""


def result_of(answer: SubmitAnswer | QueryAnswer | dict[str, Any]) -> str:
    """The label of an answer for metrics: a documented code, or a short word. An account is a dictionary."""
    match answer:
        case Accepted() | Answered() | dict():
            return str(codes.SUCCESS)
        case Refused():
            return str(answer.status) if answer.status in codes.ON_SUBMIT else answer.meaning.code
        case Spoiled():
            return str(answer.status)
        case Unanswered():
            return str(answer.status) if answer.status in codes.ON_SUBMIT else "unanswered"
        case Unknown():
            return "unknown"


def fault_of(answer: QueryAnswer) -> str:
    """The label of a fault in an answer to a question, for metrics."""
    if isinstance(answer, Answered):
        return "not_shown"
    if answer.status is not None:
        return str(answer.status) if answer.status in codes.ON_SUBMIT else "other_code"
    return f"{answer.reason[:6]}xx" if answer.reason.startswith("http_") else answer.reason
