"""Parse ``Retry-After``: how long another server asks us to wait, as seconds or as a date."""

import email.utils
from datetime import UTC, datetime
from typing import Final

LEAST_S: Final = 1.0
"""Who asks for no wait at all, or for one until a time that has passed, would be called again at the network's pace."""
MOST_S: Final = 86_400.0
"""Longer waits are cut to a day."""


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """Parse the header to seconds from ``now``, from 1 up to a day; None where it is missing or unreadable. Never
    raises."""
    text = (text or "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return min(max(float(text[:9]), LEAST_S), MOST_S)
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        # A date without a zone is UTC, as every date in HTTP is.
        at = at.replace(tzinfo=UTC)
    return min(max((at - now).total_seconds(), LEAST_S), MOST_S)
