"""The rows of tasks: found, listed, counted and locked. Every function runs in its caller's transaction."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import tasks
from app.rules.task import Task
from app.runtime.clock import first_id_of
from app.tasks.state_store import task_of
from app.tasks.writes import CHANGING_FACTS, FACTS, Row

ID_LATER_S: Final = 60.0
"""An id is made after its task's ``created_at``, by no more than a transaction may last."""

_facts_of: Final = attrgetter(*FACTS)
changing_of: Final = attrgetter("id", *CHANGING_FACTS)
"""The row of a task that has changed, as ``writes`` has it."""


@dataclass(frozen=True, slots=True)
class TaskInput:
    """The client's part of a task, which nothing changes afterwards."""

    params: dict[str, Any]
    metadata: dict[str, Any]
    reference: str | None = None
    retry_of: UUID | None = None


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task as it is stored: its facts and what the client sent."""

    task: Task
    input: TaskInput


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilters:
    """Which tasks a list shows; None: all. ``before_id``: only ids below this, where the page before ended."""

    client_name: str | None = None
    statuses: tuple[str, ...] = ()
    kind: str | None = None
    reference: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    finished_after: datetime | None = None
    finished_before: datetime | None = None
    before_id: UUID | None = None


def new_row(task: Task, task_input: TaskInput | None = None) -> Row:
    """The row of a new task, as ``writes`` has it. Without ``task_input``: an external one."""
    task_input = task_input or TaskInput({}, {})
    return (*_facts_of(task), task_input.params, task_input.metadata, task_input.reference, task_input.retry_of)


def delete(conn: sa.Connection, ids: Iterable[UUID]) -> None:
    """Delete tasks with their items and timelines."""
    doomed = sorted(set(ids))
    if doomed:
        conn.execute(tasks.delete().where(dialect.any_of(conn, tasks.c.id, doomed)))


_ONE: Final = sa.select(tasks).where(tasks.c.id == sa.bindparam("task"))
_ONE_OF_CLIENT: Final = _ONE.where(tasks.c.client_name == sa.bindparam("client"))


def find(conn: sa.Connection, task_id: UUID, client_name: str | None) -> TaskRecord | None:
    """Read one task, if it is this client's (None: anybody's)."""
    statement = _ONE if client_name is None else _ONE_OF_CLIENT
    row = conn.execute(statement, {"task": task_id, "client": client_name}).one_or_none()
    return record_of(row) if row else None


def mark_of(conn: sa.Connection, task_id: UUID, client_name: str | None) -> tuple[int, int] | None:
    """Of one task, if it is this client's (None: anybody's), the version and the number of its latest entry in the
    timeline."""
    statement = sa.select(tasks.c.version, tasks.c.timeline_seq).where(tasks.c.id == task_id)
    if client_name is not None:
        statement = statement.where(tasks.c.client_name == client_name)
    row = conn.execute(statement).one_or_none()
    return (row.version, row.timeline_seq) if row else None


def find_many(conn: sa.Connection, ids: Sequence[UUID]) -> list[TaskRecord]:
    """Read some tasks, in the order of ``ids``; those that do not exist are left out."""
    rows = conn.execute(sa.select(tasks).where(dialect.any_of(conn, tasks.c.id, list(ids)))).all()
    records = {row.id: record_of(row) for row in rows}
    return [records[task_id] for task_id in ids if task_id in records]


def inputs_of(conn: sa.Connection, ids: Collection[UUID]) -> dict[UUID, TaskInput]:
    """Read what clients sent with some tasks."""
    columns = (tasks.c.id, tasks.c.params, tasks.c.metadata_, tasks.c.reference, tasks.c.retry_of)
    rows = conn.execute(sa.select(*columns).where(dialect.any_of(conn, tasks.c.id, list(ids)))) if ids else ()
    return {row.id: TaskInput(row.params, row.metadata_, row.reference, row.retry_of) for row in rows}


def list_page(conn: sa.Connection, filters: TaskFilters, limit: int) -> list[TaskRecord]:
    """Read the newest tasks that match, at most ``limit``: keyset pagination by id, which is by time."""
    statement = sa.select(tasks).order_by(tasks.c.id.desc()).limit(limit)
    equal = {"client_name": filters.client_name, "kind": filters.kind, "reference": filters.reference}
    for name, value in equal.items():
        if value is not None:
            statement = statement.where(tasks.c[name] == value)
    if filters.statuses:
        statement = statement.where(tasks.c.status.in_(filters.statuses))
    if filters.created_after is not None:
        # The id's bound is what the index serves; the exact time decides.
        after = tasks.c.id >= first_id_of(filters.created_after)
        statement = statement.where(after, tasks.c.created_at > filters.created_after)
    if filters.created_before is not None:
        before = tasks.c.id < first_id_of(filters.created_before, ID_LATER_S)
        statement = statement.where(before, tasks.c.created_at < filters.created_before)
    if filters.finished_after is not None:
        statement = statement.where(tasks.c.finished_at > filters.finished_after)
    if filters.finished_before is not None:
        # None is finished before it is made.
        before = tasks.c.id < first_id_of(filters.finished_before, ID_LATER_S)
        statement = statement.where(before, tasks.c.finished_at < filters.finished_before)
    if filters.before_id is not None:
        statement = statement.where(tasks.c.id < filters.before_id)
    return [record_of(row) for row in conn.execute(statement)]


@cache
def _queued(of_client: bool) -> sa.Select[Any]:
    statement = (
        sa.select(tasks)
        .where(tasks.c.dispatch_due_at <= sa.bindparam("now"))
        .order_by(tasks.c.dispatch_due_at, tasks.c.id)
        .limit(sa.bindparam("most"))
    )
    if of_client:
        statement = statement.where(tasks.c.client_name == sa.bindparam("client"))
    return dialect.locked(statement, of=tasks, skip=True)


def lock_queued(conn: sa.Connection, now: datetime, limit: int, client_name: str | None = None) -> list[TaskRecord]:
    """Lock the queued tasks, of one client or of all, that have been due longest. Tasks that another transaction
    holds are passed over."""
    parameters = {"now": now, "most": limit, "client": client_name}
    return [record_of(row) for row in conn.execute(_queued(client_name is not None), parameters)]


# An expression: grouped by the column itself, SQLite walks the index of all tasks by client, in their order.
_NAME: Final = tasks.c.client_name.concat("").label("name")
_IN_FLIGHT: Final = (
    sa.select(_NAME, sa.func.count().label("n")).where(tasks.c.slot_until > sa.bindparam("now")).group_by(_NAME)
)


def in_flight(conn: sa.Connection, now: datetime) -> dict[str, int]:
    """Count the tasks of each client that the vendor may have. Ask in a statement of its own, after the lock on the
    limit."""
    return {row.name: row.n for row in conn.execute(_IN_FLIGHT, {"now": now})}


def record_of(row: Any) -> TaskRecord:
    """Make a task record of a row with all columns."""
    task_input = TaskInput(row.params, row.metadata_, row.reference, row.retry_of)
    return TaskRecord(task_of([getattr(row, name) for name in FACTS], row.failure), task_input)
