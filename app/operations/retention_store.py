"""What is old enough to go: found along an index, a page at a time, and deleted where nothing holds it back.

A page is looked at in the order of its index from ``after`` on, so that rows which must stay are passed over once
and not again for each page behind them. Rows that another transaction holds are passed over too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import callbacks, idempotency_keys, notifications, tasks, timeline
from app.rules.filters import first_id_of

Place = tuple[Any, ...]
"""Where a page ended: the columns of the index."""

MOST_COUNTED: Final = 1_000_000
_ADVISORY_KEY: Final = 0x74656D70_72657461
"""Among the keys of advisory locks in one database: any number that nothing else here takes."""
_REST: Final = 5
"""Rows of a task beside its timeline."""


class Kind(StrEnum):
    """What is kept for a time, in the order in which it goes: a key goes before the tasks that it names."""

    KEYS = "idempotency_keys"
    NOTIFICATIONS = "notifications"
    CALLBACKS = "callbacks"
    TASKS = "tasks"


@dataclass(frozen=True, slots=True)
class Page:
    """What one transaction did. ``deleted``: rows of the kind's own table (of a task, its items and its timeline go
    with it). ``after``: where to go on, unless it ``ended`` the range."""

    deleted: int
    after: Place | None
    ended: bool


@dataclass(frozen=True, slots=True)
class _Rule:
    """``order``: the index. ``old(cutoff)``: its range. ``may_go(cutoff)``: what of it nothing holds back; None if
    all of it may go, and then each page begins at the front."""

    table: sa.Table
    order: tuple[sa.Column[Any], ...]
    old: Callable[[datetime], sa.ColumnElement[bool]]
    may_go: Callable[[datetime], sa.ColumnElement[bool]] | None

    def goes(self, cutoff: datetime) -> sa.ColumnElement[bool]:
        return self.may_go(cutoff) if self.may_go is not None else sa.true()


def _is_none(statement: sa.Select[Any]) -> sa.ColumnElement[bool]:
    """There is no such row. PostgreSQL may turn NOT EXISTS into a hash of the whole other table; not this."""
    return statement.scalar_subquery().is_(None)


def _log_may_go(cutoff: datetime) -> sa.ColumnElement[bool]:
    """The first copy of a callback says when it was received. Without it a repeat would look new, and pull an old
    value back: so it stays while repeats come, and while its task is open or changes."""
    lively = sa.or_(tasks.c.finished_at.is_(None), tasks.c.updated_at >= cutoff)
    needed = sa.select(sa.literal(1)).where(tasks.c.id == callbacks.c.task_id, lively)
    return sa.and_(callbacks.c.last_received_at < cutoff, _is_none(needed))


def _task_may_go(cutoff: datetime) -> sa.ColumnElement[bool]:
    """A task that is final and waits for nothing more; a timer means that something of it is still to come. Its
    notifications go before it: they are rendered from it when they are sent, also again."""
    told = sa.select(sa.literal(1)).where(notifications.c.task_id == tasks.c.id).limit(1)
    return sa.and_(tasks.c.timer_due_at.is_(None), tasks.c.updated_at < cutoff, _is_none(told))


def _notification_may_go(cutoff: datetime) -> sa.ColumnElement[bool]:
    """One that is pending never goes, nor one that was sent again lately."""
    return sa.and_(notifications.c.due_at.is_(None), notifications.c.ended_at < cutoff)


_KEYS = idempotency_keys.c
_RULES: Final = {
    Kind.KEYS: _Rule(idempotency_keys, (_KEYS.created_at,), lambda cutoff: _KEYS.created_at < cutoff, None),
    Kind.NOTIFICATIONS: _Rule(
        notifications,
        (notifications.c.id,),
        lambda cutoff: notifications.c.id < first_id_of(cutoff),
        _notification_may_go,
    ),
    Kind.CALLBACKS: _Rule(
        callbacks, (callbacks.c.id,), lambda cutoff: callbacks.c.id < first_id_of(cutoff), _log_may_go
    ),
    Kind.TASKS: _Rule(
        tasks, (tasks.c.finished_at, tasks.c.id), lambda cutoff: tasks.c.finished_at < cutoff, _task_may_go
    ),
}


def only_one(conn: sa.Connection) -> bool:
    """Whether this transaction alone, of all processes', deletes what is old; until its end. Never waits."""
    if not dialect.is_postgresql(conn):
        return True
    return bool(conn.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_ADVISORY_KEY))))


def oldest_key_at(conn: sa.Connection) -> datetime | None:
    """When the oldest idempotency key was written."""
    at: datetime | None = conn.scalar(sa.select(sa.func.min(_KEYS.created_at)))
    return at


def in_order(conn: sa.Connection) -> None:
    """Have pages read along their index for the rest of the transaction. With a plan from when a table was small,
    which is kept with the statement, each page would gather the whole range and sort it."""
    if dialect.is_postgresql(conn):
        conn.execute(sa.text("SET LOCAL enable_bitmapscan = off"))


def looked_at(kind: Kind, cutoff: datetime, after: Place | None, limit: int) -> sa.Select[Any]:
    """The statement that reads a page: the row's place in the index and its key, whether it may go, its weight."""
    rule = _RULES[kind]
    weight = tasks.c.timeline_seq if kind is Kind.TASKS else sa.literal(0)
    keys = [column for column in rule.table.primary_key if column.key not in {one.key for one in rule.order}]
    statement = sa.select(*rule.order, *keys, rule.goes(cutoff).label("may_go"), weight.label("weight"))
    statement = statement.where(rule.old(cutoff)).order_by(*rule.order).limit(limit)
    if after is not None and rule.may_go is not None:
        bound = sa.tuple_(*(sa.literal(value, one.type) for value, one in zip(after, rule.order, strict=True)))
        statement = statement.where(sa.tuple_(*rule.order) > bound)
    return statement


def deletion(conn: sa.Connection, kind: Kind, cutoff: datetime, chosen: Sequence[Any]) -> sa.Delete:
    """The statement that deletes rows of a page, those that still may go and that nobody else holds."""
    rule = _RULES[kind]
    keys = list(rule.table.primary_key)
    if len(keys) > 1:
        named = [tuple(getattr(row, one.key) for one in keys) for row in chosen]
        return rule.table.delete().where(sa.tuple_(*keys).in_(named))
    these = dialect.any_of(conn, keys[0], [row.id for row in chosen])
    held = sa.select(keys[0]).where(these, rule.goes(cutoff)).with_for_update(of=rule.table, skip_locked=True)
    return rule.table.delete().where(keys[0].in_(held))


def purge(conn: sa.Connection, kind: Kind, cutoff: datetime, after: Place | None, rows: int) -> Page:
    """Delete of a page of ``rows`` what may go, in the caller's transaction: some ``rows`` at most, with all that
    goes along. What belongs to one task is deleted in parts where it is more than that."""
    in_order(conn)
    if kind is Kind.TASKS:
        return _purge_tasks(conn, cutoff, after, rows)
    found = conn.execute(looked_at(kind, cutoff, after, rows)).all()
    chosen = [row for row in found if row.may_go]
    deleted = conn.execute(deletion(conn, kind, cutoff, chosen)).rowcount if chosen else 0
    return _page(kind, found, deleted, rows)


def count(conn: sa.Connection, kind: Kind, cutoff: datetime, after: Place | None, rows: int) -> Page:
    """As ``purge``, and nothing is deleted: how many rows would be. Where all may go they are counted at once, up to
    ``MOST_COUNTED``."""
    in_order(conn)
    rule = _RULES[kind]
    if rule.may_go is None:
        some = sa.select(sa.literal(1)).where(rule.old(cutoff)).limit(MOST_COUNTED).subquery()
        return Page(conn.scalar(sa.select(sa.func.count()).select_from(some)) or 0, None, ended=True)
    found = conn.execute(looked_at(kind, cutoff, after, rows)).all()
    return _page(kind, found, sum(bool(row.may_go) for row in found), rows)


def trim_timeline(conn: sa.Connection, task_id: UUID, rows: int) -> int:
    """Delete the oldest rows of a task's timeline, all but the last. Returns how many."""
    last = sa.select(tasks.c.timeline_seq).where(tasks.c.id == task_id).scalar_subquery()
    oldest = sa.select(timeline.c.seq).where(timeline.c.task_id == task_id, timeline.c.seq < last)
    chosen = list(conn.scalars(oldest.order_by(timeline.c.seq).limit(rows)))
    if not chosen:
        return 0
    return conn.execute(timeline.delete().where(timeline.c.task_id == task_id, timeline.c.seq <= chosen[-1])).rowcount


def _purge_tasks(conn: sa.Connection, cutoff: datetime, after: Place | None, rows: int) -> Page:
    """A task weighs as many rows as its timeline, and a handful for its items."""
    most = max(rows // 5, 1)
    found = conn.execute(looked_at(Kind.TASKS, cutoff, after, most)).all()
    chosen: list[Any] = []
    left, done = rows, 0
    for row in found:
        if row.may_go:
            if row.weight > rows and not chosen and _trim(conn, row.id, cutoff, rows):
                # It is looked at again, until its timeline is short.
                return Page(0, _place(Kind.TASKS, found[done - 1]) if done else after, ended=False)
            if chosen and row.weight + _REST > left:
                break
            chosen.append(row)
            left -= row.weight + _REST
        done += 1
    deleted = conn.execute(deletion(conn, Kind.TASKS, cutoff, chosen)).rowcount if chosen else 0
    return Page(
        deleted, _place(Kind.TASKS, found[done - 1]) if done else None, len(found) < most and done == len(found)
    )


def _trim(conn: sa.Connection, task_id: UUID, cutoff: datetime, rows: int) -> int:
    """Shorten the timeline of a task that may go, under its lock. 0 if somebody else holds it, or it may stay now."""
    lockable = sa.select(tasks.c.id).where(tasks.c.id == task_id, _task_may_go(cutoff))
    if conn.scalar(lockable.with_for_update(of=tasks, skip_locked=True)) is None:
        return 0
    return trim_timeline(conn, task_id, rows)


def _page(kind: Kind, found: Sequence[Any], deleted: int, rows: int) -> Page:
    return Page(deleted, _place(kind, found[-1]) if found else None, len(found) < rows)


def _place(kind: Kind, row: Any) -> Place:
    return tuple(row[: len(_RULES[kind].order)])
