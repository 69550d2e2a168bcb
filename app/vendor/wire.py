"""Lenient reading of what the vendor sends: one decode, cleaning where it is needed, then a ``Reading`` for each item.

Unknown fields are kept, a wrong type becomes "absent" and is counted, nothing raises for one bad field. No type says
what an item is: its decoder would drop the fields that it does not know.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec

from app.domain.item import canonical
from app.domain.observation import Reading
from app.domain.shape import Shape
from app.vendor.decoding import MOST_INT_DIGITS, Malformed, OddNumber, decode
from app.vendor.kinds import FAMILIES, Family
from app.vendor.redact import MARK

MOST_ID_CHARS: Final = 200
MOST_STATUS_CHARS: Final = 64
MOST_ITEMS: Final = 200
"""Items read of one body; the vendor sends a few."""
MOST_URL_CHARS: Final = 8192
MOST_DEPTH: Final = 32
"""Deeper values of unknown fields are dropped: they would overflow the recursion of whoever encodes them again."""
_MOST_INT: Final = 10**MOST_INT_DIGITS

_REPLACEMENT: Final = "\ufffd"
_ABSENT: Final = object()


Oddities = defaultdict[str, int]
"""How often something was passed over, by kind of fault."""


class Body(msgspec.Struct):
    """What a body says, and what of it was passed over."""

    readings: list[Reading] = msgspec.field(default_factory=list)
    oddities: Oddities = msgspec.field(default_factory=lambda: Oddities(int))


def read_callback(raw: bytes, family: Family) -> Body:
    """Read a callback: ``{"<list key>": [item, …]}``, without an envelope. Raises ``Malformed`` where it is not
    that, or where it has items and not one of them is usable. An empty list is fine."""
    document = _decode_clean(raw)
    is_clean = document is not None
    if document is None:
        document = decode(raw)
    if not isinstance(document, dict):
        raise Malformed("the body is not a JSON object")
    items = document.get(family.list_key)
    if not isinstance(items, list):
        raise Malformed(f"the body has no list {family.list_key!r}")
    body = read_items(items, family, of_callback=True, is_clean=is_clean)
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
        reading = _read_item(item, family, body.oddities, of_callback=of_callback, is_clean=is_clean)
        if reading is not None:
            body.readings.append(reading)
    return body


def _read_item(item: Any, family: Family, oddities: Oddities, *, of_callback: bool, is_clean: bool) -> Reading | None:
    """Read one vendor item, or None (counted) if it is no object or has no usable id."""
    if not isinstance(item, dict):
        oddities["item_not_object"] += 1
        return None
    item_id = read_item_id(item.get("item_id"))
    if item_id is None:
        oddities["item_without_id"] += 1
        return None
    fields = _FIELDS[family.name]
    found: _Found = ({}, {}, {}, {})
    for raw_name, raw_value in item.items():
        if raw_value is None or raw_name == "item_id":
            continue
        name = (raw_name if is_clean else clean_text(raw_name))[:MOST_ID_CHARS]
        value = raw_value if is_clean else clean(raw_value, oddities)
        if value is _ABSENT or (not value and value in ("", [], {})):
            continue
        place, read = fields.get(name, _OTHER)
        kept = value if read is None else read(value)
        if kept is _ABSENT:
            oddities["wrong_type"] += 1
        else:
            found[place][name] = kept
    statuses, urls, values, events = found
    return Reading(item_id, statuses, urls, values, events.get("event", "") if of_callback else None)


def read_item_id(value: Any) -> str | None:
    """An item id: 1–200 characters, a whole number as its decimal text; else None. One that held a secret of ours is
    none: what is left of it names nothing, and the vendor could not be asked about it."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        if abs(value) >= 10**MOST_ID_CHARS:
            return None
        value = str(value)
    if isinstance(value, OddNumber) and not value.lstrip("-").isdigit():
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= MOST_ID_CHARS or MARK in value:
        return None
    return clean_text(str(value))


def clean_text(text: str) -> str:
    """NUL and lone surrogates become U+FFFD: both databases refuse them."""
    if "\x00" in text:
        text = text.replace("\x00", _REPLACEMENT)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = "".join(_REPLACEMENT if 0xD800 <= ord(char) <= 0xDFFF else char for char in text)
    return text


def clean(value: Any, oddities: Oddities, depth: int = 0) -> Any:
    """A value that both databases and any JSON encoder take. A number that is none to them becomes its text; what is
    nested too deeply is absent. Both are counted."""
    if isinstance(value, OddNumber):
        oddities["number_out_of_range"] += 1
        return str(value)
    if isinstance(value, str):
        return clean_text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        is_kept = math.isfinite(value) if isinstance(value, float) else -_MOST_INT < value < _MOST_INT
        return value if is_kept else clean(OddNumber(value), oddities)
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


_MOST_LEVELS: Final = 8
"""A body that is nested deeper is always cleaned. Each level more doubles the decoder's type."""
_INT64: Final = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_ESCAPED_ASCII: Final = tuple(b"\\u00%x" % digit for digit in range(8))


def _modest(levels: int) -> Any:
    """The type of any JSON value that is nested no deeper and whose whole numbers are not over 64 bits."""
    scalar = str | _INT64 | float | bool | None
    if levels == 0:
        return scalar
    within = _modest(levels - 1)
    return scalar | list[within] | dict[str, within]  # type: ignore[valid-type]


_decode_modest: Final = msgspec.json.Decoder(dict[str, _modest(_MOST_LEVELS)]).decode  # type: ignore[misc]


def _decode_clean(raw: bytes) -> Any:
    """The document, if cleaning would change nothing of it, told from its bytes and by the decoder; else, or where
    that is not sure (a whole number over 64 bits), None. To make each value anew costs more than all the rest of its
    reading."""
    if b"\x00" in raw or (b"\\u00" in raw and any(one in raw for one in _ESCAPED_ASCII)):
        return None
    try:
        return _decode_modest(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


_Found = tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]
"""What an item has, by field: statuses, URLs, values, and its event."""
_STATUS, _URL, _VALUE, _EVENT = range(4)


def _short_text(value: Any) -> Any:
    return value if isinstance(value, str) and len(value) <= MOST_STATUS_CHARS else _ABSENT


def _text(value: Any) -> Any:
    return value if isinstance(value, str) else _ABSENT


def _number(value: Any) -> Any:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else _ABSENT


def _list(value: Any) -> Any:
    return value if isinstance(value, list) else _ABSENT


def _url(value: Any) -> Any:
    """An http(s) URL exactly as given; stems may also bring a list or an object of them, kept as its JSON."""
    if isinstance(value, str):
        return value if _is_url(value) else _ABSENT
    return canonical(value) if _holds_url(value) else _ABSENT


_Read = Callable[[Any], Any]
"""What keeps a value of the right type, or makes ``_ABSENT`` of it."""
_Fields = dict[str, tuple[int, _Read | None]]
"""Where each known field of an item belongs, and how it is read."""
_OTHER: Final = (_VALUE, None)
_TYPES: Final[_Fields] = {
    "event": (_EVENT, _short_text),
    **dict.fromkeys(("model", "title", "style", "prompt", "lyrics", "lyric", "err_msg", "error"), (_VALUE, _text)),
    **dict.fromkeys(("duration", "created_at", "finished_at"), (_VALUE, _number)),
    "lyrics_sections": (_VALUE, _list),
}


def _fields_of(shape: Shape) -> _Fields:
    urls = dict.fromkeys(shape.url_fields, (_URL, _url))
    statuses = dict.fromkeys(shape.status_fields, (_STATUS, _short_text))
    return {**_TYPES, **urls, **statuses}


_FIELDS: Final = {family.name: _fields_of(family.shape) for family in FAMILIES.values()}


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://")) and len(text) <= MOST_URL_CHARS


def _holds_url(value: Any) -> bool:
    if isinstance(value, str):
        return _is_url(value)
    if isinstance(value, (list, dict)):
        return any(_holds_url(part) for part in (value.values() if isinstance(value, dict) else value))
    return False
