"""The audit of what admins did: appended and read. The database itself refuses to change or delete a row.

An act that changes state is recorded in the transaction of the change, by ``record(conn, act)`` with an act made
by ``audit.act``: then one is not without the other. Nothing deletes from it, retention neither.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from app.audit.acts import Act, Action, By
from app.database.tables import audit


def record(conn: sa.Connection, act: Act) -> None:
    """Append an act, in the caller's transaction."""
    conn.execute(
        audit.insert().values(
            id=act.id,
            at=act.at,
            actor=act.by.actor,
            action=act.action.value,
            target=act.target,
            detail=act.detail,
            request_id=act.by.request_id,
        )
    )


def list_page(conn: sa.Connection, before_id: UUID | None, limit: int) -> Sequence[Act]:
    """The newest acts, at most ``limit``."""
    statement = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
    if before_id is not None:
        statement = statement.where(audit.c.id < before_id)
    return [_act(row) for row in conn.execute(statement)]


def first(conn: sa.Connection, action: Action, target: str) -> Act | None:
    """The first act of a kind on a target."""
    matches = sa.and_(audit.c.action == action.value, audit.c.target == target)
    row = conn.execute(sa.select(audit).where(matches).order_by(audit.c.id).limit(1)).one_or_none()
    return _act(row) if row else None


def _act(row: Any) -> Act:
    return Act(row.id, row.at, By(row.actor, row.request_id), Action(row.action), row.target, row.detail)
