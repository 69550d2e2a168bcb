"""A client: an internal service, known by its API key."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

EXTERNAL: Final = "external"
"""The client of tasks that nobody submitted through us."""


@dataclass(frozen=True, slots=True)
class Client:
    """A client, without its secrets. ``key``: the digest of the API key by which it was found, if it was. The times of
    use are known to the minute. ``webhook_…``: of its tasks that name none themselves."""

    name: str
    is_admin: bool
    created_at: datetime
    revoked_at: datetime | None
    key_used_at: datetime | None = None
    previous_key_until: datetime | None = None
    previous_key_used_at: datetime | None = None
    webhook_url: str | None = None
    webhook_events: list[str] | None = None
    key: bytes | None = field(default=None, repr=False, compare=False)
