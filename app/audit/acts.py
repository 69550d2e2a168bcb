"""The audit: what admins did, by whom, to what. Written once, never changed, kept for good."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

COMMAND_LINE: Final = "cli:"
"""What the actor of a command begins with, before the name of the system's user. No client's name begins so."""


class Action(StrEnum):
    """Every kind of act that is recorded."""

    CREATE_CLIENT = "clients.create"
    REVOKE_CLIENT = "clients.revoke"
    ROTATE_KEY = "clients.rotate_key"
    DROP_KEY = "clients.drop_previous_key"
    ROTATE_WEBHOOK = "clients.rotate_webhook_secret"
    ERASE_CLIENT = "clients.erase"
    HOLD = "submissions.hold"
    RELEASE = "submissions.release"
    RECOVER = "submissions.recover"
    RESOLVE_TASK = "tasks.resolve"
    ADOPT_ITEMS = "tasks.adopt"
    CANCEL_TASK = "tasks.cancel"
    RETRY_TASK = "tasks.retry"
    REFRESH_TASK = "tasks.refresh"
    VERIFY_TASK = "tasks.verify"
    """Only in what earlier releases recorded."""
    REPLAY_CALLBACK = "callbacks.replay"
    REDELIVER = "notifications.redeliver"
    PURGE = "purge"


@dataclass(frozen=True, slots=True)
class By:
    """Who acts: a client's name, or ``cli:`` and the system's user; and the request it came with, if that has an
    id."""

    actor: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """One act. ``target``: what it was done to, by the name or id that the API knows it by, "" for the whole.
    ``detail`` is JSON and holds no secret."""

    id: UUID
    at: datetime
    by: By
    action: Action
    target: str
    detail: dict[str, Any]
