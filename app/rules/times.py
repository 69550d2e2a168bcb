"""Times: their forms (RFC 3339, microseconds since the epoch), and sums that cannot overflow."""

from datetime import UTC, datetime, timedelta
from typing import Final, overload

FAR: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""Later than anything: settings have no upper bounds, datetimes have."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def later(at: datetime, seconds: float) -> datetime:
    """Add seconds to a time; ``FAR`` where the sum is none."""
    try:
        return min(at + timedelta(seconds=seconds), FAR)
    except OverflowError:
        return FAR


def to_us(at: datetime) -> int:
    """Microseconds since the epoch: the form of times inside an item's state."""
    return (at - _EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """The inverse of ``to_us``."""
    return _EPOCH + timedelta(microseconds=us)


@overload
def rfc3339(at: datetime) -> str: ...
@overload
def rfc3339(at: None) -> None: ...
@overload
def rfc3339(at: datetime | None) -> str | None: ...
def rfc3339(at: datetime | None) -> str | None:
    """Format a time: UTC, with microseconds and a ``Z``; None stays None."""
    if at is None:
        return None
    # Stored times are UTC already; the offset that is cut off is "+00:00".
    return (at if at.tzinfo is UTC else at.astimezone(UTC)).isoformat(timespec="microseconds")[:-6] + "Z"
