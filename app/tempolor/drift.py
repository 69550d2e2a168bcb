"""Find drift: names that the vendor sends and that are not in ``vocabulary``. Never a value; from what is already
redacted.

Looking costs every callback, so that all that is everyday is recognized by one look each: a set that holds the names,
the beginning of the body, the names of the headers.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from app.rules.observation import Reading
from app.runtime.addresses import parse_address
from app.tempolor import decoding, vocabulary
from app.tempolor.item_readings import clean_text
from app.tempolor.kinds import FAMILIES, Family

MOST_NAME_CHARS: Final = 200
MOST_FOUND: Final = 50
"""Findings kept of one body."""
MOST_OUTLINED: Final = 64 * 1024
"""A larger callback is not decoded once more to tell its shape."""
_MOST_ITEMS: Final = 10
_MOST_PLACES: Final = 5


class DriftKind(StrEnum):
    """The kinds of drift."""

    FIELD = "field"
    EVENT = "event"
    STATUS = "status"
    CODE = "code"
    SHAPE = "shape"
    HEADER = "header"
    NETWORK = "network"


class Finding(NamedTuple):
    """One unknown name."""

    sort: DriftKind
    family: str
    name: str


@lru_cache(maxsize=1024)
def of_request(family: str, header_names: frozenset[bytes], address: str | None) -> tuple[Finding, ...]:
    """Find unusual headers of a callback, and the network that it came from."""
    unusual = sorted(header_names - vocabulary.HEADERS)[:_MOST_ITEMS]
    findings = [Finding(DriftKind.HEADER, family, _name(header.decode("latin-1"))) for header in unusual]
    network = _network_of(address)
    return (*findings, Finding(DriftKind.NETWORK, family, network)) if network else tuple(findings)


def of_callback(family: Family, body: bytes, readings: Iterable[Reading]) -> list[Finding]:
    """Find what is unknown in a callback."""
    findings: list[Finding] = []
    everyday = body.startswith(_EVERYDAY[family.name]) or len(body) > MOST_OUTLINED
    if not everyday and not _DOCUMENTED[family.name].match(body):
        findings += _of_shape(family.name, "callback", _decoded(body), (family.list_key,))
    fields, events = vocabulary.FIELDS[family.name], vocabulary.EVENTS[family.name]
    for reading in readings:
        if not (fields.issuperset(reading.values) and fields.issuperset(reading.urls)):
            findings += _of_fields(family.name, chain(reading.values, reading.urls))
        findings += _of_statuses(family.name, reading.statuses)
        if reading.event is not None and reading.event not in events:
            findings.append(Finding(DriftKind.EVENT, family.name, _name(reading.event)))
        if len(findings) >= MOST_FOUND:
            break
    return findings[:MOST_FOUND]


_EVERYDAY: Final = {
    family.name: tuple(f'{{"{family.list_key}"{colon}[{{'.encode() for colon in (":", ": "))
    for family in FAMILIES.values()
}
"""How nearly every callback of the documented shape begins."""
_DOCUMENTED: Final = {
    family.name: re.compile(rf'\s*\{{\s*"{family.list_key}"\s*:\s*\['.encode()) for family in FAMILIES.values()
}
"""And how any other does."""


def of_answer(family: str, operation: str, place: Sequence[str], document: Any) -> list[Finding]:
    """Find what is unknown in an answer of the vendor. ``place``: where its list is documented, from the top."""
    if not isinstance(document, dict):
        return []
    findings: list[Finding] = []
    code = document.get("status")
    if isinstance(code, (int, str)) and not isinstance(code, bool) and code not in vocabulary.CODES:
        findings.append(Finding(DriftKind.CODE, family, _name(f"{operation} {code}")))
    elif code == vocabulary.SUCCESS or code is None:
        findings += _of_shape(family, operation, document, place)
    items = _at(document, place) if family in FAMILIES else None
    for item in items[:_MOST_ITEMS] if isinstance(items, list) else ():
        if isinstance(item, dict):
            findings += _of_fields(family, item)
            fields = FAMILIES[family].shape.status_fields & item.keys()
            findings += _of_statuses(family, {name: item[name] for name in fields if isinstance(item[name], str)})
    return findings[:MOST_FOUND]


def _of_fields(family: str, names: Iterable[str]) -> Iterator[Finding]:
    unknown = (name for name in names if name not in vocabulary.FIELDS[family])
    return (Finding(DriftKind.FIELD, family, _name(name)) for name in islice(unknown, MOST_FOUND))


def _of_statuses(family: str, statuses: dict[str, str]) -> Iterator[Finding]:
    for field, status in statuses.items():
        if status not in (vocabulary.STATUSES if field == "status" else vocabulary.SUB_STATUSES) and status:
            yield Finding(DriftKind.STATUS, family, _name(f"{field} {status}"))


def _of_shape(family: str, operation: str, document: Any, place: Sequence[str]) -> Iterator[Finding]:
    """Find the shape of a document that does not have its list where it is documented: where it has lists and
    objects."""
    if not place or isinstance(_at(document, place), list):
        return
    outline = ", ".join(_outline(document)) or type(document).__name__
    yield Finding(DriftKind.SHAPE, family, _name(f"{operation} {outline}"))


def _outline(document: Any) -> list[str]:
    """Where a document has lists (``a.b[]``) and objects (``a.b{}``), two levels deep."""
    if isinstance(document, list):
        return ["[]"]
    if not isinstance(document, dict):
        return []
    places: list[str] = []
    for name, value in document.items():
        within = _outline(value) if isinstance(value, list) else _named_parts(value)
        places += (f"{name}{part}" for part in within)
    return sorted(places)[:_MOST_PLACES]


def _named_parts(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return []
    nested = ((name, value) for name, value in value.items() if isinstance(value, (list, dict)))
    parts = [f".{name}{'[]' if isinstance(value, list) else '{}'}" for name, value in nested]
    return parts[:_MOST_PLACES] or ["{}"]


def _at(document: Any, place: Sequence[str]) -> Any:
    for name in place:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _decoded(body: bytes) -> Any:
    try:
        return decoding.decode(body)
    except decoding.Malformed:
        return None


def _network_of(address: str | None) -> str | None:
    """The network around an address: /24, or /48 in IPv6."""
    parsed = parse_address(address or "")
    if parsed is None:
        return None
    bits = 24 if parsed.version == 4 else 48
    return str(ipaddress.ip_network(f"{parsed}/{bits}", strict=False))


def _name(text: str) -> str:
    return clean_text(text)[:MOST_NAME_CHARS]
