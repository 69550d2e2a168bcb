"""The header ``Retry-After``, read leniently."""

import email.utils
from datetime import UTC, datetime
from typing import Final

MOST_S: Final = 86_400.0


def read_retry_after(text: str, now: datetime) -> float | None:
    """Seconds to wait from ``now``, given as seconds or as a date, at most a day; None where it says nothing."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        # More than nine digits are no time to wait, and more than 4,300 are no number to Python.
        return min(float(text[:9]), MOST_S)
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        # A date whose zone is not told is UTC, as every date in HTTP is.
        at = at.replace(tzinfo=UTC)
    return min(max((at - now).total_seconds(), 0.0), MOST_S)
