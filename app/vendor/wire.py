"""Lenient reading of what the vendor sends: one untyped decode, cleaning, then a ``Reading`` for each item.

Unknown fields are kept, a wrong type becomes "absent" and is counted, nothing raises for one bad field.
A typed decoder would skip over faults in fields that it does not know, and drop those fields.
"""

import json
import math
import re
from collections import defaultdict
from typing import Any, Final

import msgspec

from app.domain.item import canonical
from app.domain.observation import Reading
from app.domain.shape import Shape
from app.vendor.kinds import Family

MOST_ID_CHARS: Final = 200
MOST_STATUS_CHARS: Final = 64
MOST_ITEMS: Final = 200
"""Items read of one body; the vendor sends a few."""
MOST_URL_CHARS: Final = 8192
MOST_DEPTH: Final = 32
"""Deeper values of unknown fields are dropped: they would overflow the recursion of whoever encodes them again."""
MOST_INT_DIGITS: Final = 40
"""A longer whole number is dropped, except as an item id."""
_MOST_INT: Final = 10**MOST_INT_DIGITS

_TEXT_FIELDS: Final = frozenset({"event", "model", "title", "style", "prompt", "lyrics", "lyric", "err_msg", "error"})
_NUMBER_FIELDS: Final = frozenset({"duration", "created_at", "finished_at"})
_LIST_FIELDS: Final = frozenset({"lyrics_sections"})
_REPLACEMENT: Final = "\ufffd"
_CALLBACK_URL: Final = re.compile(r"(/callbacks/[a-z]+/)[A-Za-z0-9_-]{16,}")
_ABSENT: Final = object()


class Malformed(Exception):
    """The body is not JSON, or not of the documented shape. The message is safe to show."""


Oddities = defaultdict[str, int]
"""How often something was passed over, by kind of fault."""


class Body(msgspec.Struct):
    """What a body says, and what of it was passed over."""

    readings: list[Reading] = msgspec.field(default_factory=list)
    oddities: Oddities = msgspec.field(default_factory=lambda: Oddities(int))


def decode(raw: bytes) -> Any:
    """Decode JSON. Raises ``Malformed``."""
    return _decode(raw)[0]


def _decode(raw: bytes) -> tuple[Any, bool]:
    """The document, and whether it is strict JSON.

    What only msgspec refuses (a lone surrogate, 1e400) gets one retry through the standard library: a song
    must not be lost over one broken emoji.
    """
    try:
        return msgspec.json.decode(raw), True
    except (UnicodeDecodeError, RecursionError) as error:
        raise Malformed(_why(error)) from None
    except msgspec.MsgspecError:
        try:
            return json.loads(raw, parse_int=_parse_int), False
        except (ValueError, RecursionError) as error:
            raise Malformed(_why(error)) from None


def read_callback(raw: bytes, family: Family) -> Body:
    """Read a callback: ``{"<list key>": [item, …]}``, without an envelope. Raises ``Malformed`` where it is not
    that, or where it has items and not one of them is usable. An empty list is fine."""
    document, strict = _decode(raw)
    if not isinstance(document, dict):
        raise Malformed("the body is not a JSON object")
    items = document.get(family.list_key)
    if not isinstance(items, list):
        raise Malformed(f"the body has no list {family.list_key!r}")
    body = read_items(items, family, of_callback=True, is_clean=strict and _is_clean(raw, document))
    if items and not body.readings:
        raise Malformed("no item of the body is usable")
    return body


def read_items(items: list[Any], family: Family, *, of_callback: bool = False, is_clean: bool = False) -> Body:
    """Read a list of vendor items; an item without a usable id is counted and passed over.

    Only a callback is an event: one without a name (lyrics, stems, midi) has the event ``""``, and what a
    query's item says of events is dropped. ``is_clean``: it is known that cleaning would change nothing."""
    body = Body()
    if len(items) > MOST_ITEMS:
        body.oddities["too_many_items"] += len(items) - MOST_ITEMS
    for item in items[:MOST_ITEMS]:
        reading = read_item(item, family.shape, body.oddities, of_callback=of_callback, is_clean=is_clean)
        if reading is not None:
            body.readings.append(reading)
    return body


def read_item(
    item: Any, shape: Shape, oddities: Oddities, *, of_callback: bool = False, is_clean: bool = False
) -> Reading | None:
    """Read one vendor item, or None (counted) if it is no object or has no usable id."""
    if not isinstance(item, dict):
        oddities["item_not_object"] += 1
        return None
    item_id = read_item_id(item.get("item_id"))
    if item_id is None:
        oddities["item_without_id"] += 1
        return None
    reading = Reading(item_id)
    event: str | None = None
    for raw_name, raw_value in item.items():
        if raw_value is None or raw_name == "item_id":
            continue
        name = (raw_name if is_clean else clean_text(raw_name))[:MOST_ID_CHARS]
        value = raw_value if is_clean else clean(raw_value, oddities)
        if value is _ABSENT or (not value and value in ("", [], {})):
            continue
        if name == "event":
            event = _read_event(value, oddities)
        else:
            _read_field(reading, name, value, shape, oddities)
    if not of_callback:
        return reading
    return Reading(item_id, reading.statuses, reading.urls, reading.values, event or "")


def read_item_id(value: Any) -> str | None:
    """An item id: 1–200 characters, a whole number as its decimal text; else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        if abs(value) >= 10**MOST_ID_CHARS:
            return None
        value = str(value)
    if not isinstance(value, str) or not 1 <= len(value) <= MOST_ID_CHARS:
        return None
    return clean_text(value)


def clean_text(text: str) -> str:
    """NUL and lone surrogates become U+FFFD: both databases refuse them. A callback URL that the vendor echoes
    loses its token: what it says is shown to clients and logged."""
    if "/callbacks/" in text:
        text = _CALLBACK_URL.sub(r"\1…", text)
    if "\x00" in text:
        text = text.replace("\x00", _REPLACEMENT)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = "".join(_REPLACEMENT if 0xD800 <= ord(char) <= 0xDFFF else char for char in text)
    return text


def clean(value: Any, oddities: Oddities, depth: int = 0) -> Any:
    """A value that both databases and any JSON encoder take; what cannot be kept is absent and counted."""
    if isinstance(value, str):
        return clean_text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        if math.isfinite(value) if isinstance(value, float) else -_MOST_INT < value < _MOST_INT:
            return value
        oddities["number_out_of_range"] += 1
        return _ABSENT
    if depth >= MOST_DEPTH:
        oddities["too_deep"] += 1
        return _ABSENT
    if isinstance(value, list):
        return [kept for one in value if (kept := clean(one, oddities, depth + 1)) is not _ABSENT]
    return {
        clean_text(str(name)): kept
        for name, one in value.items()
        if (kept := clean(one, oddities, depth + 1)) is not _ABSENT
    }


_ESCAPED_ASCII: Final = tuple(b"\\u00%x" % digit for digit in range(8))
_DIGITS_ALIKE: Final = bytes.maketrans(b"123456789", b"000000000")


def _is_clean(raw: bytes, document: Any) -> bool:
    """Whether cleaning would change nothing of a strict JSON document, told from its bytes and its depth: to make
    each value anew costs more than all the rest of its reading. Says no where it is not sure."""
    if b"callbacks" in raw or b"\x00" in raw or b"0" * MOST_INT_DIGITS in raw.translate(_DIGITS_ALIKE):
        return False
    if b"\\u00" in raw and any(escaped in raw for escaped in _ESCAPED_ASCII):
        return False
    return _is_shallow(document, MOST_DEPTH)


def _is_shallow(value: Any, left: int) -> bool:
    """Whether a list or object is nested no deeper than ``left`` levels."""
    if left == 0:
        return False
    for one in value.values() if type(value) is dict else value:
        kind = type(one)
        if (kind is dict or kind is list) and not _is_shallow(one, left - 1):
            return False
    return True


def _read_event(value: Any, oddities: Oddities) -> str | None:
    if isinstance(value, str) and len(value) <= MOST_STATUS_CHARS:
        return value
    oddities["wrong_type"] += 1
    return None


def _read_field(reading: Reading, name: str, value: Any, shape: Shape, oddities: Oddities) -> None:
    if name in shape.status_fields:
        if isinstance(value, str) and len(value) <= MOST_STATUS_CHARS:
            reading.statuses[name] = value
        else:
            oddities["wrong_type"] += 1
    elif name in shape.url_fields:
        url = _read_url(value)
        if url is None:
            oddities["wrong_type"] += 1
        else:
            reading.urls[name] = url
    elif _rightly_typed(name, value):
        reading.values[name] = value
    else:
        oddities["wrong_type"] += 1


def _read_url(value: Any) -> str | None:
    """An http(s) URL exactly as given; stems may also bring a list or an object of them, kept as its JSON."""
    if isinstance(value, str):
        return value if _is_url(value) else None
    return canonical(value) if _holds_url(value) else None


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://")) and len(text) <= MOST_URL_CHARS


def _holds_url(value: Any) -> bool:
    if isinstance(value, str):
        return _is_url(value)
    if isinstance(value, (list, dict)):
        return any(_holds_url(part) for part in (value.values() if isinstance(value, dict) else value))
    return False


def _rightly_typed(name: str, value: Any) -> bool:
    if name in _TEXT_FIELDS:
        return isinstance(value, str)
    if name in _NUMBER_FIELDS:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if name in _LIST_FIELDS:
        return isinstance(value, list)
    return True


def _parse_int(text: str) -> float:
    """A whole number, or infinity for one with so many digits that Python refuses it; cleaning drops that."""
    return int(text) if len(text) <= MOST_ID_CHARS else math.inf


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the JSON is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "the body is not valid UTF-8"
    return "the body is not valid JSON"
