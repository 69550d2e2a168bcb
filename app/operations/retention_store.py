"""Find old rows by keyset pages along an index, and delete those that nothing holds back.

A page is read in the order of its index from ``after`` on, so that rows which must stay are read once and not again
for each page behind them. Rows that another transaction has locked are skipped.
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
from app.runtime.clock import first_id_of
from app.tasks import stored_files

Keyset = tuple[Any, ...]
"""Where a page ended: the values of the index's columns."""

MOST_COUNTED: Final = 1_000_000
_ADVISORY_KEY: Final = 0x74656D70_72657461
"""Of the advisory lock: any number that nothing else in the database uses."""
_REST: Final = 5
"""Rows of a task beside its timeline."""


class Kind(StrEnum):
    """Kinds of rows, in the order in which they are deleted: a key before the tasks that it names."""

    KEYS = "idempotency_keys"
    NOTIFICATIONS = "notifications"
    CALLBACKS = "callbacks"
    TASKS = "tasks"


@dataclass(frozen=True, slots=True)
class Page:
    """What one transaction did. ``deleted``: rows of the kind's own table (of a task, its items and its timeline go
    with it). ``after``: where the next page begins, unless this one ``ended`` the range."""

    deleted: int
    after: Keyset | None
    ended: bool


@dataclass(frozen=True, slots=True)
class _Rule:
    """Which rows of a kind are deleted. ``order``: the index. ``old(cutoff)``: its range. ``may_go(cutoff)``: rows of
    it that nothing holds back; None if all may go, and then each page begins at the front."""

    table: sa.Table
    order: tuple[sa.Column[Any], ...]
    old: Callable[[datetime], sa.ColumnElement[bool]]
    may_go: Callable[[datetime], sa.ColumnElement[bool]] | None

    def goes(self, cutoff: datetime) -> sa.ColumnElement[bool]:
        return self.may_go(cutoff) if self.may_go is not None else sa.true()


def _is_none(statement: sa.Select[Any]) -> sa.ColumnElement[bool]:
    """Whether there is no such row. PostgreSQL may turn NOT EXISTS into a hash of the whole other table; not this."""
    return statement.scalar_subquery().is_(None)


def _callback_may_go(cutoff: datetime) -> sa.ColumnElement[bool]:
    """A callback stays while repeats come, and while its task is open or changes: its first copy has the time of
    receipt, without which a repeat would look new and bring an old value back."""
    active = sa.or_(tasks.c.finished_at.is_(None), tasks.c.updated_at >= cutoff)
    needed = sa.select(sa.literal(1)).where(tasks.c.id == callbacks.c.task_id, active)
    return sa.and_(callbacks.c.last_received_at < cutoff, _is_none(needed))


def _task_may_go(cutoff: datetime, stays: sa.ColumnElement[bool] | None = None) -> sa.ColumnElement[bool]:
    """A task that is final and waits for nothing more; a timer means that something of it is still to come. Its
    notifications go before it: they are rendered from it when they are sent, also again. ``stays``: which of these hold
    it back; None: each that is there."""
    notification = sa.select(sa.literal(1)).where(notifications.c.task_id == tasks.c.id).limit(1)
    if stays is not None:
        notification = notification.where(stays)
    return sa.and_(tasks.c.timer_due_at.is_(None), tasks.c.updated_at < cutoff, _is_none(notification))


def _task_would_go(cutoff: datetime) -> sa.ColumnElement[bool]:
    """A task that may go once those of its notifications are gone that go before it."""
    is_new = notifications.c.id >= first_id_of(cutoff)
    return _task_may_go(cutoff, sa.or_(is_new, sa.not_(_notification_may_go(cutoff))))


def _notification_may_go(cutoff: datetime) -> sa.ColumnElement[bool]:
    """A notification that has ended, and was not sent again lately."""
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
        callbacks, (callbacks.c.id,), lambda cutoff: callbacks.c.id < first_id_of(cutoff), _callback_may_go
    ),
    Kind.TASKS: _Rule(
        tasks, (tasks.c.finished_at, tasks.c.id), lambda cutoff: tasks.c.finished_at < cutoff, _task_may_go
    ),
}


def try_lock(conn: sa.Connection) -> bool:
    """Take the advisory lock of retention until the end of the transaction; false if another process has it."""
    if not dialect.is_postgresql(conn):
        return True
    return bool(conn.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_ADVISORY_KEY))))


def oldest_key_at(conn: sa.Connection, since: datetime | None = None) -> datetime | None:
    """When the oldest idempotency key was written, of those from ``since`` on (None: of all)."""
    oldest = sa.select(sa.func.min(_KEYS.created_at))
    at: datetime | None = conn.scalar(oldest if since is None else oldest.where(_KEYS.created_at >= since))
    return at


def prefer_index_order(conn: sa.Connection) -> None:
    """Have pages read along their index for the rest of the transaction. With a plan from when a table was small,
    which is kept with the statement, each page would gather the whole range and sort it."""
    if dialect.is_postgresql(conn):
        conn.execute(sa.text("SET LOCAL enable_bitmapscan = off"))


def page_statement(
    kind: Kind, cutoff: datetime, after: Keyset | None, limit: int, *, counting: bool = False
) -> sa.Select[Any]:
    """The statement that reads a page: of each row its keyset and its primary key, whether it may go, its weight.
    ``counting``: nothing was deleted that goes before."""
    rule = _RULES[kind]
    may_go = _task_would_go(cutoff) if counting and kind is Kind.TASKS else rule.goes(cutoff)
    weight = tasks.c.timeline_seq if kind is Kind.TASKS else sa.literal(0)
    ordered_by = {column.key for column in rule.order}
    keys = [column for column in rule.table.primary_key if column.key not in ordered_by]
    statement = sa.select(*rule.order, *keys, may_go.label("may_go"), weight.label("weight"))
    statement = statement.where(rule.old(cutoff)).order_by(*rule.order).limit(limit)
    if after is not None and rule.may_go is not None:
        bound = sa.tuple_(*(sa.literal(value, column.type) for value, column in zip(after, rule.order, strict=True)))
        statement = statement.where(sa.tuple_(*rule.order) > bound)
    return statement


def deletion(conn: sa.Connection, kind: Kind, cutoff: datetime, chosen: Sequence[Any]) -> sa.Delete:
    """The statement that deletes chosen rows of a page, if they still may go and are not locked."""
    rule = _RULES[kind]
    keys = list(rule.table.primary_key)
    if len(keys) > 1:
        values = [tuple(getattr(row, key.key) for key in keys) for row in chosen]
        return rule.table.delete().where(sa.tuple_(*keys).in_(values))
    by_id = dialect.any_of(conn, keys[0], [row.id for row in chosen])
    locked = sa.select(keys[0]).where(by_id, rule.goes(cutoff)).with_for_update(of=rule.table, skip_locked=True)
    return rule.table.delete().where(keys[0].in_(locked))


def purge(conn: sa.Connection, kind: Kind, cutoff: datetime, after: Keyset | None, rows: int) -> Page:
    """Delete of a page of ``rows`` those that may go, in the caller's transaction: some ``rows`` at most, with all that
    cascades. A task with a longer timeline is deleted in parts."""
    prefer_index_order(conn)
    if kind is Kind.TASKS:
        return _purge_tasks(conn, cutoff, after, rows)
    found = conn.execute(page_statement(kind, cutoff, after, rows)).all()
    chosen = [row for row in found if row.may_go]
    deleted = conn.execute(deletion(conn, kind, cutoff, chosen)).rowcount if chosen else 0
    return _page(kind, found, deleted, rows)


def count(conn: sa.Connection, kind: Kind, cutoff: datetime, after: Keyset | None, rows: int) -> Page:
    """Count what ``purge`` would delete. Where all rows of the range may go they are counted at once, up to
    ``MOST_COUNTED``."""
    prefer_index_order(conn)
    rule = _RULES[kind]
    if rule.may_go is None:
        bounded = sa.select(sa.literal(1)).where(rule.old(cutoff)).limit(MOST_COUNTED).subquery()
        return Page(conn.scalar(sa.select(sa.func.count()).select_from(bounded)) or 0, None, ended=True)
    found = conn.execute(page_statement(kind, cutoff, after, rows, counting=True)).all()
    return _page(kind, found, sum(bool(row.may_go) for row in found), rows)


def trim_timeline(conn: sa.Connection, task_id: UUID, rows: int) -> int:
    """Delete the oldest rows of a task's timeline, all but the last. Returns how many."""
    last = sa.select(tasks.c.timeline_seq).where(tasks.c.id == task_id).scalar_subquery()
    oldest = sa.select(timeline.c.seq).where(timeline.c.task_id == task_id, timeline.c.seq < last)
    chosen = list(conn.scalars(oldest.order_by(timeline.c.seq).limit(rows)))
    if not chosen:
        return 0
    return conn.execute(timeline.delete().where(timeline.c.task_id == task_id, timeline.c.seq <= chosen[-1])).rowcount


def _purge_tasks(conn: sa.Connection, cutoff: datetime, after: Keyset | None, rows: int) -> Page:
    """A task weighs as many rows as its timeline, and a handful for its items."""
    most = max(rows // 5, 1)
    found = conn.execute(page_statement(Kind.TASKS, cutoff, after, most)).all()
    chosen: list[Any] = []
    left, done = rows, 0
    for row in found:
        if row.may_go:
            if row.weight > rows and not chosen and _trim(conn, row.id, cutoff, rows):
                # It is read again, until its timeline is short.
                return Page(0, _keyset_of(Kind.TASKS, found[done - 1]) if done else after, ended=False)
            if chosen and row.weight + _REST > left:
                break
            chosen.append(row)
            left -= row.weight + _REST
        done += 1
    owned = stored_files.of_tasks(conn, [row.id for row in chosen])
    deleted = conn.execute(deletion(conn, Kind.TASKS, cutoff, chosen)).rowcount if chosen else 0
    stored_files.doom_ownerless(conn, owned, cutoff)
    return Page(
        deleted, _keyset_of(Kind.TASKS, found[done - 1]) if done else None, len(found) < most and done == len(found)
    )


def _trim(conn: sa.Connection, task_id: UUID, cutoff: datetime, rows: int) -> int:
    """Shorten the timeline of a task that may go, under its lock. 0 if it is locked, or must stay now."""
    lockable = sa.select(tasks.c.id).where(tasks.c.id == task_id, _task_may_go(cutoff))
    if conn.scalar(lockable.with_for_update(of=tasks, skip_locked=True)) is None:
        return 0
    return trim_timeline(conn, task_id, rows)


def _page(kind: Kind, found: Sequence[Any], deleted: int, rows: int) -> Page:
    return Page(deleted, _keyset_of(kind, found[-1]) if found else None, len(found) < rows)


def _keyset_of(kind: Kind, row: Any) -> Keyset:
    return tuple(row[: len(_RULES[kind].order)])
