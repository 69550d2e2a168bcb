"""Erasing the data of a client that was revoked: its ended tasks, what was received and sent for them, its keys.

The client's row stays, so that its name is not given again before its time.
"""

from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from app.audit import audit_rows
from app.audit.acts import Act, Action, By
from app.audit.audit import act
from app.database.database import Database
from app.errors import Conflict, NotFound
from app.operations import erase_store
from app.operations.erase_store import Part
from app.operations.retention import MOST_ROWS, REST
from app.runtime.clock import Clock

TABLES: Final = ("tasks", "callbacks", "notifications", "idempotency_keys")


@dataclass(slots=True)
class Erased:
    """Rows by table (of a task, its items and its timeline go with it). ``done``: nothing is left."""

    deleted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    done: bool = False


async def erase(
    db: Database, clock: Clock, by: By, name: str, budget_s: float | None = None, *, rows: int = MOST_ROWS
) -> Erased:
    """Erase what is kept of a client, in transactions of some ``rows`` with pauses, for ``budget_s`` at most (None: to
    its end).
    What was interrupted is taken up by doing it again. Raises ``NotFound``; ``Conflict`` for a client that was not
    revoked, or of which a task is open, and then nothing (more) is erased; ``Unavailable``. The act is recorded with
    the first part that is erased, once for each time that it is taken up."""
    end = None if budget_s is None else clock.monotonic() + budget_s
    erased = Erased()
    done: Act | None = act(clock, by, Action.ERASE_CLIENT, name)
    while not erased.done and (end is None or clock.monotonic() < end):
        started = clock.monotonic()
        part = await db.write(_erase, name, done, rows)
        done = None
        erased.done = part.ended
        if part.table in erased.deleted:
            erased.deleted[part.table] += part.deleted
        if not part.ended:
            await clock.sleep((clock.monotonic() - started) * REST)
    return erased


def _erase(conn: sa.Connection, name: str, done: Act | None, rows: int) -> Part:
    found = erase_store.revoked(conn, name)
    if found is None:
        raise NotFound("there is no such client")
    if not found:
        raise Conflict(f"the client {name!r} was not revoked; revoke it first")
    still_open = erase_store.count_open(conn, name)
    if still_open:
        number = f"{still_open} or more" if still_open == erase_store.MOST_COUNTED else str(still_open)
        raise Conflict(
            f"{number} tasks of {name!r} are open or wait for something to come; cancel those that are queued, and "
            "come again when the others have ended"
        )
    part = erase_store.erase(conn, name, rows)
    if done is not None and not part.ended:
        audit_rows.record(conn, done)
    return part
