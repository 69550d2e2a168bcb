"""Read items that the vendor sends, leniently: one decode, cleaning where it is needed, then a ``Reading`` for each
item.

Nothing that an item holds is dropped, and nothing raises for one bad field. A known field whose meaning is plain is
read, whatever its type; what is odd is kept beside it as it came, and counted; of what is too long the length is kept.
No type says what an item is: its decoder would drop the fields that it does not know.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from heapq import nsmallest
from typing import Annotated, Any, Final

import msgspec

from app.rules.item_shape import Shape
from app.rules.join import MOST_OTHER_FIELDS, canonical, size_of
from app.rules.observation import Reading, is_known, key_of, left_out, odd_key
from app.tempolor import values
from app.tempolor.decoding import MOST_INT_DIGITS, Malformed, OddNumber, decode, is_slow
from app.tempolor.kinds import FAMILIES, Family
from app.tempolor.redact import MARK

MOST_ID_CHARS: Final = 200
MOST_STATUS_CHARS: Final = 64
MOST_ITEMS: Final = 200
"""Items read of one body; the vendor sends a few."""
MOST_URL_BYTES: Final = 4096
"""Of a URL as JSON, or of the list or object in its place."""
MOST_URLS_BYTES: Final = 16 * 1024
"""The same of families with one or two files, which may bring a list."""
MOST_SECTIONS_BYTES: Final = 64 * 1024
MOST_LYRICS_CHARS: Final = 6000
MOST_FIELDS: Final = 64
"""An item with more values has some that are not kept; one that has no more is not looked through for them."""
MOST_OTHER_BYTES: Final = 4096
"""Of the JSON of a field that nobody knows."""
MOST_ODD_BYTES: Final = 2048
"""Of the JSON of a known field that is not understood."""
SMALL_BODY: Final = 8192
"""In a body of so many bytes no ``lyrics_sections`` can be too long, however its numbers are written."""
MOST_DEPTH: Final = 32
"""Deeper values are replaced by ``TOO_DEEP``: they would overflow the recursion of whoever encodes them again."""
TOO_DEEP: Final = "(nested too deeply)"
_MOST_INT: Final = 10**MOST_INT_DIGITS

_REPLACEMENT: Final = "\ufffd"
_ODD: Final = object()
"""The meaning of a value is not plain."""


Oddities = defaultdict[str, int]
"""How often something was not as it should be, by kind of fault."""


class Body(msgspec.Struct):
    """The readings of a body, and how often something in it was odd."""

    readings: list[Reading] = msgspec.field(default_factory=list)
    oddities: Oddities = msgspec.field(default_factory=lambda: Oddities(int))


def read_callback(raw: bytes, family: Family) -> Body:
    """Read a callback: ``{"<list key>": [item, …]}``, perhaps inside the ``data`` of an envelope. Raises ``Malformed``
    where it is not that, or where it has items and not one of them is usable. An empty list is fine."""
    document = _decode_clean(raw)
    is_clean = document is not None
    if document is None:
        document = decode(raw)
    if not isinstance(document, dict):
        raise Malformed("the body is not a JSON object")
    items = document.get(family.list_key)
    if not isinstance(items, list) and isinstance(data := document.get("data"), dict):
        items = data.get(family.list_key)
    if not isinstance(items, list):
        raise Malformed(f"the body has no list {family.list_key!r}")
    is_small = is_clean and len(raw) <= SMALL_BODY
    body = read_items(items, family, of_callback=True, is_clean=is_clean, is_small=is_small)
    if items and not body.readings:
        raise Malformed("no item of the body is usable")
    return body


def read_items(
    items: list[Any], family: Family, *, of_callback: bool = False, is_clean: bool = False, is_small: bool = False
) -> Body:
    """Read a list of vendor items; an item without a usable id is counted and passed over.

    Only a callback is an event: one without a name (lyrics, stems, midi) has the event ``""``, and what a
    query's item says of events is no event. ``is_clean``: it is known that cleaning would change nothing;
    ``is_small``: that all of it together has no more than ``SMALL_BODY`` bytes."""
    body = Body()
    fields = (_FIELDS_IF_SMALL if is_small else _FIELDS)[family.name]
    if len(items) > MOST_ITEMS:
        body.oddities["too_many_items"] += len(items) - MOST_ITEMS
    for item in items[:MOST_ITEMS]:
        reading = _read_item(item, fields, body.oddities, of_callback=of_callback, is_clean=is_clean)
        if reading is not None:
            body.readings.append(reading)
    return body


def _read_item(
    item: Any, fields: "_Fields", oddities: Oddities, *, of_callback: bool, is_clean: bool
) -> Reading | None:
    """Read one vendor item, or None (counted) if it is no object or has no usable id."""
    if not isinstance(item, dict):
        oddities["item_not_object"] += 1
        return None
    item_id = read_item_id(item.get("item_id"))
    if item_id is None:
        oddities["item_without_id"] += 1
        return None
    fields_read: _FieldsRead = ({}, {}, {}, {})
    for raw_name, raw_value in item.items():
        if raw_value is None or raw_name == "item_id":
            continue
        name = raw_name if is_clean else clean_text(raw_name)
        value = raw_value if is_clean else clean(raw_value, oddities)
        if not value and value in ("", [], {}):
            continue
        field = fields.get(name)
        if field is None:
            fields_read[_VALUE][key_of(name[:MOST_ID_CHARS])] = _other(value, oddities)
            continue
        place, read = field
        kept = read(value)
        if kept is _ODD:
            fields_read[_VALUE][odd_key(name)] = _odd(value, oddities)
        else:
            fields_read[place][name] = kept
    statuses, urls, values_, events = fields_read
    if len(values_) > MOST_FIELDS:
        values_ = _least(values_, oddities)
    return Reading(item_id, statuses, urls, values_, events.get("event", "") if of_callback else None)


def _least(values_: dict[str, Any], oddities: Oddities) -> dict[str, Any]:
    """Keep as many unknown fields as the join keeps, of the same names, and one more, which shows it that there were
    others: each costs it a look at all that it has."""
    others = [name for name in values_ if not is_known(name)]
    kept = set(nsmallest(MOST_OTHER_FIELDS + 1, others))
    if len(kept) < len(others):
        oddities["too_many_fields"] += len(others) - len(kept)
    return {name: value for name, value in values_.items() if name in kept or is_known(name)}


def _other(value: Any, oddities: Oddities) -> Any:
    """Read the value of an unknown field."""
    size = size_of(value)
    if size <= MOST_OTHER_BYTES:
        return value
    oddities["too_long"] += 1
    return left_out(size)


def _odd(value: Any, oddities: Oddities) -> Any:
    """Keep the value of a known field that is not understood."""
    oddities["wrong_type"] += 1
    size = size_of(value)
    return value if size <= MOST_ODD_BYTES else left_out(size)


def read_item_id(value: Any) -> str | None:
    """Read an item id: 1–200 characters, a whole number as its decimal text; else None. One that held a secret of ours
    is none: what is left of it names nothing, and the vendor could not be asked about it."""
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
    """Replace NUL and lone surrogates by U+FFFD: both databases refuse them."""
    if "\x00" in text:
        text = text.replace("\x00", _REPLACEMENT)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = "".join(_REPLACEMENT if 0xD800 <= ord(char) <= 0xDFFF else char for char in text)
    return text


def clean(value: Any, oddities: Oddities, depth: int = 0) -> Any:
    """Clean a value, so that both databases and any JSON encoder take it. A number that is none to them becomes its
    text, and what is nested too deeply ``TOO_DEEP``. Both are counted."""
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
        return TOO_DEEP
    if isinstance(value, list):
        return [clean(one, oddities, depth + 1) for one in value]
    return {clean_text(str(name)): clean(one, oddities, depth + 1) for name, one in value.items()}


_MOST_LEVELS: Final = 8
"""A body that is nested deeper is always cleaned. Each level more doubles the decoder's type."""
_INT64: Final = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


def _modest(levels: int) -> Any:
    """The type of any JSON value that is nested no deeper and whose whole numbers are not over 64 bits."""
    scalar = str | _INT64 | float | bool | None
    if levels == 0:
        return scalar
    within = _modest(levels - 1)
    return scalar | list[within] | dict[str, within]  # type: ignore[valid-type]


_decode_modest: Final = msgspec.json.Decoder(dict[str, _modest(_MOST_LEVELS)]).decode  # type: ignore[misc]


def _decode_clean(raw: bytes) -> Any:
    """Decode a document of which cleaning would change nothing, as its bytes and the decoder show; else, or where
    that is not sure (a whole number over 64 bits), None. To make each value anew costs more than all the rest of its
    reading."""
    if b"\x00" in raw or b"\\u0000" in raw or is_slow(raw):
        return None
    try:
        return _decode_modest(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


_FieldsRead = tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]
"""What an item has, by field: statuses, URLs, values, and its event."""
_STATUS, _URL, _VALUE, _EVENT = range(4)
_Read = Callable[[Any], Any]
"""What keeps a value whose meaning is plain, or makes ``_ODD`` of it."""
_Fields = dict[str, tuple[int, _Read]]
"""Where each known field of an item belongs, and how it is read."""


def _short_text(value: Any) -> Any:
    """Read a text that is compared with others as it is: nothing is guessed of its case, or of blanks around it."""
    return value if isinstance(value, str) and len(value) <= MOST_STATUS_CHARS else _ODD


def _text(most_chars: int, understood: Callable[[Any], str | None] = values.as_text) -> _Read:
    def read(value: Any) -> Any:
        text = value if isinstance(value, str) else understood(value)
        return value if text is not None and len(text) <= most_chars else _ODD

    return read


def _number(value: Any) -> Any:
    return value if type(value) is int or values.as_number(value) is not None else _ODD


def _time(value: Any) -> Any:
    return value if type(value) is int or values.as_time(value) is not None else _ODD


def _text_or_list(value: Any) -> Any:
    """Of fields that were seen and are documented nowhere."""
    if isinstance(value, (list, dict)):
        return value if size_of(value) <= MOST_SECTIONS_BYTES // 2 else _ODD
    return _LYRICS(value)


def _any_list(value: Any) -> Any:
    value = _unwrapped(value)
    return value if isinstance(value, list) and value else _ODD


def _list(value: Any) -> Any:
    kept = _any_list(value)
    return kept if kept is _ODD or size_of(kept) <= MOST_SECTIONS_BYTES else _ODD


def _url_within(most_bytes: int) -> _Read:
    """A URL exactly as given, but for what is plainly missing; stems may also bring a list or an object of URLs, kept
    as its JSON."""
    surely_short = most_bytes // 6  # a character takes six bytes at most

    def read(value: Any) -> Any:
        if isinstance(value, str):
            if value.startswith(("https://", "http://")) and len(value) < surely_short and value == value.strip():
                return value
            if (url := values.as_url(value)) is not None:
                return url if size_of(url) <= most_bytes else _ODD
            value = _unwrapped(value)
        if not isinstance(value, (list, dict)) or not values.holds_url(value):
            return _ODD
        several = canonical(value)
        return several if len(several.encode()) <= most_bytes else _ODD

    return read


def _unwrapped(value: Any) -> Any:
    """Decode what a text holds as JSON, where that is a list or an object, and not longer than one that is kept."""
    if not isinstance(value, str) or len(value) > MOST_SECTIONS_BYTES or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return clean(decode(value.encode()), Oddities(int))
    except Malformed:
        return value


_LYRICS: Final = _text(MOST_LYRICS_CHARS, values.as_lines)
_TYPES: Final[_Fields] = {
    "event": (_EVENT, _short_text),
    "model": (_VALUE, _text(200)),
    "title": (_VALUE, _text(500)),
    "style": (_VALUE, _text(1000)),
    "prompt": (_VALUE, _text(3000)),
    **dict.fromkeys(("lyrics", "lyric"), (_VALUE, _LYRICS)),
    **dict.fromkeys(("lyrics_disp", "lrc_mv"), (_VALUE, _text_or_list)),
    **dict.fromkeys(("err_msg", "error"), (_VALUE, _text(1000))),
    "duration": (_VALUE, _number),
    **dict.fromkeys(("created_at", "finished_at"), (_VALUE, _time)),
}


def _fields_of(shape: Shape, a_list: _Read) -> _Fields:
    a_url = _url_within(MOST_URL_BYTES if len(shape.artifacts) > 2 else MOST_URLS_BYTES)
    urls = dict.fromkeys(shape.url_fields, (_URL, a_url))
    statuses = dict.fromkeys(shape.status_fields, (_STATUS, _short_text))
    return {**_TYPES, "lyrics_sections": (_VALUE, a_list), **urls, **statuses}


_FIELDS: Final = {family.name: _fields_of(family.shape, _list) for family in FAMILIES.values()}
_FIELDS_IF_SMALL: Final = {family.name: _fields_of(family.shape, _any_list) for family in FAMILIES.values()}
