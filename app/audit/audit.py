"""Recording what admins do, and reading it.

A story that changes state makes its act beforehand (``act``) and records it in the transaction of the change, with
``audit_rows.record``. What changes nothing here is recorded by ``note``, before it is done.
"""

import os
import pwd
from typing import Any, Final
from uuid import UUID

from app.audit import audit_rows
from app.audit.acts import COMMAND_LINE, Act, Action, By
from app.database.database import Database
from app.runtime.clock import Clock, Ids

MOST_TEXT: Final = 300


def act(clock: Clock, by: By, action: Action, target: str = "", **detail: Any) -> Act:
    """An act that is about to be done. ``detail``: what of it matters later, as JSON; never a secret, a signed URL
    or a body."""
    return Act(Ids(clock.now)(), clock.now(), by, action, target[:MOST_TEXT], detail)


async def note(db: Database, clock: Clock, by: By, action: Action, target: str = "", **detail: Any) -> None:
    """Record an act that changes no state here, in a transaction of its own. Raises ``Unavailable``."""
    await db.write(audit_rows.record, act(clock, by, action, target, **detail))


async def page(db: Database, before_id: UUID | None, limit: int) -> list[dict[str, Any]]:
    """A page of the audit, newest first."""
    return [_document(one) for one in await db.read(audit_rows.list_page, before_id, limit)]


def command_line() -> By:
    """Whoever runs a command: the system's user, not what the environment says of it."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"  # a container may run as a user that it has no name for
    return By(f"{COMMAND_LINE}{name}"[:120])


def _document(one: Act) -> dict[str, Any]:
    return {
        "id": str(one.id),
        "at": one.at,
        "actor": one.by.actor,
        "action": one.action.value,
        "target": one.target or None,
        "detail": one.detail,
        "request_id": one.by.request_id,
    }
