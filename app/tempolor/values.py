"""Read single values of an unusual type or form: pure.

Each gives None for what it does not understand. Nothing is guessed: a text that is no number is no number.
"""

import re
from datetime import datetime
from typing import Any, Final

_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?", re.ASCII)
_SCHEME: Final = re.compile(r"(?:https?:)?//", re.ASCII | re.IGNORECASE)


def as_number(value: Any) -> int | float | None:
    """A number, also one that came as text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return value
    if not isinstance(value, str) or not _NUMBER.fullmatch(text := value.strip()):
        return None
    return float(text) if "." in text else int(text)


def as_text(value: Any) -> str | None:
    """A text, also one that came as a number: a title can be a year."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def as_lines(value: Any) -> str | None:
    """A text of several lines, also as a list of them."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return as_text(value)


def as_time(value: Any) -> int | float | datetime | None:
    """A time: epoch seconds or milliseconds, also as text, or a text as ISO 8601 has it."""
    number = as_number(value)
    if number is not None or not isinstance(value, str):
        return number
    try:
        return datetime.fromisoformat(value.strip())
    except ValueError:
        return None


def in_seconds(sections: Any) -> list[Any] | None:
    """Aligned lyrics with ``start`` and ``end`` in seconds also where the vendor gives ``start_ms`` and ``end_ms``.
    A list within the list is left out; it stands in the vendor's item."""
    if not isinstance(sections, list):
        return None
    return [_with_seconds(one) if isinstance(one, dict) else one for one in sections if not isinstance(one, list)]


def as_url(value: Any) -> str | None:
    """An http(s) URL, without blanks around it. The scheme may be missing or in capitals; all else stays as it came."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    scheme = _SCHEME.match(text)
    if scheme is None or len(text) == scheme.end():
        return None
    return (scheme[0].lower() if len(scheme[0]) > len("//") else "https://") + text[scheme.end() :]


def holds_url(value: Any) -> bool:
    """Whether a value is a URL, or a list or an object that holds one somewhere."""
    if isinstance(value, (list, dict)):
        return any(holds_url(part) for part in (value.values() if isinstance(value, dict) else value))
    return as_url(value) is not None


def _with_seconds(section: dict[str, Any]) -> dict[str, Any]:
    added = {}
    for name in ("start", "end"):
        ms = as_number(section.get(f"{name}_ms"))
        if ms is not None and section.get(name) is None:
            added[name] = ms / 1000
    return {**section, **added}
