"""The record of a task: its inbound rows with their bodies, and what became of one that was read anew."""

from collections.abc import Collection, Iterator
from uuid import UUID

import sqlalchemy as sa

from app.storage import inbox
from app.storage.inbox import Logged
from app.storage.tables import callbacks, item_values, tasks


def settle(conn: sa.Connection, callback_id: UUID, disposition: str, detail: str | None) -> None:
    """Note what has become of a callback now, and why."""
    this = callbacks.update().where(callbacks.c.id == callback_id)
    conn.execute(this.values(disposition=disposition, detail=detail))


def inbound(conn: sa.Connection, task_id: UUID, others: Collection[UUID]) -> Iterator[Logged]:
    """The callbacks of a task's token, and ``others``, one at a time: a body may have a megabyte."""
    own = sa.select(callbacks.c.id).where(callbacks.c.task_id == task_id)
    for callback_id in sorted({*conn.scalars(own), *others}):
        logged = inbox.find(conn, callback_id)
        if logged is not None:
            yield logged


def drop_value(conn: sa.Connection, key: tuple[str, str], digest: str) -> None:
    """Delete a large value of an item, so that it can be written anew: a row of it is never overwritten."""
    table = item_values.c
    named = sa.and_(table.family == key[0], table.item_id == key[1], table.digest == digest)
    conn.execute(item_values.delete().where(named))


def page_of_tasks(conn: sa.Connection, after: UUID | None, limit: int) -> list[UUID]:
    """The ids of tasks, the oldest first."""
    statement = sa.select(tasks.c.id).order_by(tasks.c.id).limit(limit)
    return list(conn.scalars(statement if after is None else statement.where(tasks.c.id > after)))
