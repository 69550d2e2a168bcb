"""``Retry-After``: how long another server asks us to wait, told as seconds or as a date."""

import email.utils
from datetime import UTC, datetime
from typing import Final

MOST_S: Final = 86_400
"""Nobody is waited for longer than a day."""


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """Seconds from ``now``, 0 up to a day; None where there is no header, or an unreadable one. Never raises."""
    text = (text or "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), MOST_S))
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        # A date whose zone is not told is UTC, as every date in HTTP is.
        at = at.replace(tzinfo=UTC)
    return min(max((at - now).total_seconds(), 0.0), float(MOST_S))
