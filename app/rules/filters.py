"""Which tasks a list shows."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Filters:
    """None shows all. ``before_id``: only ids below this, where the page before ended."""

    client_name: str | None = None
    statuses: tuple[str, ...] = ()
    kind: str | None = None
    reference: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    finished_after: datetime | None = None
    finished_before: datetime | None = None
    before_id: UUID | None = None


def milliseconds(at: datetime) -> int:
    """The time as UUIDv7 counts it."""
    return int(at.timestamp() * 1000)


def first_id_of(at: datetime, slack_s: float = 0) -> UUID:
    """The smallest UUIDv7 of a millisecond, ``slack_s`` later: a bound for lists by time."""
    return UUID(int=max(milliseconds(at) + int(slack_s * 1000), 0) << 80)
