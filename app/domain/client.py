"""An internal caller, known by its API key."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

EXTERNAL: Final = "external"
"""The client of tasks that nobody submitted through us."""


@dataclass(frozen=True, slots=True)
class Client:
    """An internal caller, without its secrets."""

    name: str
    is_admin: bool
    created_at: datetime
    revoked_at: datetime | None
