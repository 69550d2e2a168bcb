"""Show values on pages as text: times, sizes, JSON, and stored content, which neither acts nor disturbs the page around
it, whatever anybody put into it."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from markupsafe import Markup, escape

from app.rules.times import rfc3339

_DISTURBING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters, those that turn the direction of what follows, and halves of characters, which no answer can
carry."""
MOST_SHOWN_CHARS: Final = 20_000
"""Of a document that is shown as JSON."""
_UNITS: Final = ("B", "KB", "MB", "GB", "TB")


def visible(value: Any) -> Any:
    """What every expression of a template goes through: nothing for None, and a sign in place of each character that
    would disturb the page. Markup is made of such parts already."""
    if value is None:
        return ""
    if isinstance(value, Markup):
        return value
    return _DISTURBING.sub("\ufffd", value) if isinstance(value, str) else value


def is_link(value: Any) -> bool:
    """Whether a value is a URL that may become a link: http or https, and a host."""
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def when(at: str | datetime | None) -> Markup | str:
    """A time, which the browser shows in its reader's language and zone."""
    if not at:
        return "–"
    text = rfc3339(at) if isinstance(at, datetime) else at
    parsed = datetime.fromisoformat(text).astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(text, f"{parsed:%Y-%m-%d %H:%M:%S} UTC")


def since(seconds: float) -> str:
    """A length of time for people: the two largest units."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    for size, name, below, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {name} {rest} {part}" if rest else f"{whole // size} {name}"
    return f"{whole} s"


def size(count: int | None) -> str:
    """A number of bytes."""
    if count is None:
        return "–"
    amount, unit = float(count), 0
    while amount >= 1000 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.1f} {_UNITS[unit]}" if unit and amount < 100 else f"{amount:.0f} {_UNITS[unit]}"


def clock(seconds: Any) -> str:
    """A place in a song, as in 3:07."""
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < 360_000:
        return "–"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def pretty(document: Any) -> str:
    """A document as JSON, cut off where it is very long."""
    text = json.dumps(document, ensure_ascii=False, indent=2, default=str)
    left = len(text) - MOST_SHOWN_CHARS
    return text if left <= 0 else f"{text[:MOST_SHOWN_CHARS]}\n… and {left} more characters"


def indented(body: str) -> str:
    """A body as indented JSON, as it came where it is none; cut off where it is very long."""
    try:
        return pretty(json.loads(body))
    except (ValueError, RecursionError):
        return body if len(body) <= MOST_SHOWN_CHARS else f"{body[:MOST_SHOWN_CHARS]}\n… and more"


def short(value: Any, most: int = 120) -> str:
    """The beginning of a text, on one line."""
    text = " ".join(str(value if value is not None else "")[: most * 4].split())
    return text if len(text) <= most else text[: most - 1] + "…"


def coded(given: str) -> Markup:
    """A text of ours in which names stand in backticks."""
    code = Markup("<code>{}</code>")
    parts = (code.format(part) if number % 2 else escape(part) for number, part in enumerate(given.split("`")))
    return Markup("").join(parts)


def attributes(given: Mapping[str, Any]) -> Markup:
    """HTML attributes; one that is None is left out, one that is True has no value."""
    shown = ((name, value) for name, value in given.items() if value is not None and value is not False)
    parts = (name if value is True else f'{name}="{escape(visible(str(value)))}"' for name, value in shown)
    return Markup(" ").join(Markup(part) for part in parts)  # noqa: S704 - each value is escaped
