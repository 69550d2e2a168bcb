"""Tasks: locked and saved by the flows, read by the API. Every function runs in its caller's transaction."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.domain.filters import Filters, first_id_of
from app.domain.status import TaskStatus
from app.domain.task import Failure, Submission, Task
from app.storage import dialect, sets, statements
from app.storage.database import loads
from app.storage.tables import items, tasks

ID_LATER_S: Final = 60.0
"""An id is made after its task's ``created_at``, by no more than a transaction may last."""

FACTS: Final = tuple(name for name in Task.__struct_fields__ if name != "new")
_FIXED: Final = FACTS[: FACTS.index("submission")]
"""Facts that never change come first."""
_FAILURE: Final = FACTS.index("failure")
_facts_of: Final = attrgetter(*FACTS)
_changing_of: Final = attrgetter("id", *FACTS[len(_FIXED) :])


@dataclass(frozen=True, slots=True)
class Given:
    """What the client sent with a task, which nothing changes afterwards."""

    params: dict[str, Any]
    metadata: dict[str, Any]
    reference: str | None = None
    retry_of: UUID | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A task as it is stored: its facts and what the client sent."""

    task: Task
    given: Given


def of_owners(ids: sa.FromClause, keys: sa.FromClause) -> sa.Select[Any]:
    """The facts of the tasks of a set of ids, and of those that own a set of items, in the order of their ids."""
    named = sa.and_(items.c.family == keys.c.family, items.c.item_id == keys.c.item_id)
    owners = sa.select(items.c.task_id).join(keys, named)
    wanted = sa.union(sa.select(ids.c.id), owners)
    return sa.select(*(tasks.c[name] for name in FACTS)).where(tasks.c.id.in_(wanted)).order_by(tasks.c.id)


def _of_row(facts: statements.Row) -> Task:
    return _task(facts, loads(facts[_FAILURE]) if facts[_FAILURE] else None)


def _locked(ids: sa.FromClause, keys: sa.FromClause) -> sa.Select[Any]:
    these = dialect.locked(of_owners(ids, keys).with_only_columns(tasks.c.id), of=tasks, skip=False).cte("these")
    return sa.select(sa.cast(sa.func.count(), sa.Text)).select_from(these)


_NAMED: Final = {"ids": (tasks.c.id,), "keys": (items.c.family, items.c.item_id)}
_OWNED: Final = statements.Select(_NAMED, of_owners, msgspec.json.Decoder(list[Task]).decode, _of_row)
_LOCK: Final = statements.Document(_NAMED, _locked, int)


@dataclass(frozen=True, slots=True)
class _GivenOf:
    id: UUID
    params: dict[str, Any]
    metadata: dict[str, Any]
    reference: str | None
    retry_of: UUID | None


def _given_of_row(row: statements.Row) -> _GivenOf:
    return _GivenOf(row[0], loads(row[1]), loads(row[2]), row[3], row[4])


def _given(ids: sa.FromClause) -> sa.Select[Any]:
    table = tasks.c
    metadata = table.metadata_.label("metadata")
    return sa.select(table.id, table.params, metadata, table.reference, table.retry_of).join(ids, ids.c.id == table.id)


_GIVEN: Final = statements.Select(
    {"ids": (tasks.c.id,)}, _given, msgspec.json.Decoder(list[_GivenOf]).decode, _given_of_row
)
_INSERT: Final = statements.Insert(tasks, (*FACTS, "params", "metadata_", "reference", "retry_of"), rare=True)
_UPDATE: Final = statements.Update(tasks, ("id",), FACTS[len(_FIXED) :])


def inserted(records: Sequence[Record]) -> statements.Change:
    """New tasks."""
    return _INSERT, [_row(record) for record in records]


def owned(conn: sa.Connection, ids: Collection[UUID], item_keys: Collection[tuple[str, str]]) -> list[Task]:
    """The tasks of these ids, and those that own these items, read without a lock."""
    return sets.select(conn, _OWNED, ids=list(ids), keys=list(item_keys))


def lock(conn: sa.Connection, ids: Collection[UUID], item_keys: Collection[tuple[str, str]]) -> None:
    """Lock the tasks of these ids, and those that own these items, in the order of their ids; waits for those that
    another transaction holds, up to the lock time-out. Who owns an item may change until its task is locked, and what
    this statement sees may be older than its locks: read in another one."""
    if dialect.is_postgresql(conn) and (ids or item_keys):
        sets.read_document(conn, _LOCK, ids=list(ids), keys=list(item_keys))


def existing(conn: sa.Connection, ids: Iterable[UUID]) -> set[UUID]:
    """Which of the ids are tasks."""
    wanted = sorted(set(ids))
    if not wanted:
        return set()
    return set(conn.scalars(sa.select(tasks.c.id).where(dialect.any_of(conn, tasks.c.id, wanted))))


def changed(some: Sequence[Task]) -> list[statements.Change]:
    """The facts of locked tasks, and those that are new (external ones, with nothing given)."""
    return [
        inserted([Record(task, Given({}, {})) for task in some if task.new]),
        (_UPDATE, [_changing_of(task) for task in some if not task.new]),
    ]


def give(conn: sa.Connection, ids: Sequence[UUID], client_name: str) -> None:
    """Make locked tasks this client's."""
    if ids:
        conn.execute(tasks.update().where(dialect.any_of(conn, tasks.c.id, list(ids))).values(client_name=client_name))


def delete(conn: sa.Connection, ids: Iterable[UUID]) -> None:
    """Remove tasks with their items and timelines."""
    doomed = sorted(set(ids))
    if doomed:
        conn.execute(tasks.delete().where(dialect.any_of(conn, tasks.c.id, doomed)))


def find(conn: sa.Connection, task_id: UUID, client_name: str | None) -> Record | None:
    """One task, if it is this client's (None: anybody's)."""
    statement = sa.select(tasks).where(tasks.c.id == task_id)
    if client_name is not None:
        statement = statement.where(tasks.c.client_name == client_name)
    row = conn.execute(statement).one_or_none()
    return record_of(row) if row else None


def find_many(conn: sa.Connection, ids: Sequence[UUID]) -> list[Record]:
    """Some tasks, in the order of ``ids``; those that do not exist are left out."""
    rows = conn.execute(sa.select(tasks).where(dialect.any_of(conn, tasks.c.id, list(ids)))).all()
    found = {row.id: record_of(row) for row in rows}
    return [found[task_id] for task_id in ids if task_id in found]


def given_of(conn: sa.Connection, ids: Collection[UUID]) -> dict[UUID, Given]:
    """What clients sent with some tasks."""
    if not ids:
        return {}
    found = sets.select(conn, _GIVEN, ids=list(ids))
    return {one.id: Given(one.params, one.metadata, one.reference, one.retry_of) for one in found}


def traceparent_of(conn: sa.Connection, task_id: UUID) -> str | None:
    """The trace that a task belongs to."""
    return conn.scalar(sa.select(tasks.c.traceparent).where(tasks.c.id == task_id))


def list_page(conn: sa.Connection, filters: Filters, limit: int) -> list[Record]:
    """The newest tasks that match, at most ``limit``: keyset by id, which is by time."""
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
    if filters.before_id is not None:
        statement = statement.where(tasks.c.id < filters.before_id)
    return [record_of(row) for row in conn.execute(statement)]


_ANY_QUEUED: Final = sa.select(sa.exists().where(tasks.c.dispatch_due_at.is_not(None)))


def any_queued(conn: sa.Connection) -> bool:
    """Whether any task is queued, due or parked."""
    return bool(conn.scalar(_ANY_QUEUED))


def lock_queued(conn: sa.Connection, now: datetime, limit: int, client_name: str | None = None) -> list[Record]:
    """Lock the queued tasks, of one client or of all, that have been due longest. Tasks that another transaction
    holds are passed over."""
    statement = (
        sa.select(tasks)
        .where(tasks.c.dispatch_due_at <= now)
        .order_by(tasks.c.dispatch_due_at, tasks.c.id)
        .limit(limit)
    )
    if client_name is not None:
        statement = statement.where(tasks.c.client_name == client_name)
    return [record_of(row) for row in conn.execute(dialect.locked(statement, of=tasks, skip=True))]


def _waiting() -> sa.Select[Any]:
    """From one client to the next along the index, so that their tasks are not looked at; each with its oldest."""
    queued = tasks.c.dispatch_due_at.is_not(None)
    first = sa.select(sa.func.min(tasks.c.client_name).label("client_name")).where(queued)
    found = first.cte("waiting", recursive=True)
    following = sa.select(sa.func.min(tasks.c.client_name)).where(queued, tasks.c.client_name > found.c.client_name)
    found = found.union_all(sa.select(following.scalar_subquery()).where(found.c.client_name.is_not(None)))
    oldest = sa.select(sa.func.min(tasks.c.dispatch_due_at)).where(queued, tasks.c.client_name == found.c.client_name)
    return sa.select(found.c.client_name, oldest.scalar_subquery().label("oldest_at")).where(
        found.c.client_name.is_not(None)
    )


_WAITING: Final = _waiting()


def waiting(conn: sa.Connection, now: datetime) -> list[str]:
    """The clients that have a queued task that is due."""
    rows = conn.execute(_WAITING)
    return [row.client_name for row in rows if row.oldest_at is not None and row.oldest_at <= now]


def note_claimed(conn: sa.Connection, ids: Sequence[UUID], key_id: str) -> None:
    """Note which callback secret signs the URLs of tasks that are sent now; none of them is parked any more."""
    these = tasks.update().where(dialect.any_of(conn, tasks.c.id, list(ids)))
    conn.execute(these.values(callback_key_id=key_id, parked_as=None))


def due_timers(conn: sa.Connection, now: datetime, limit: int) -> list[UUID]:
    """Tasks that the clock has to look at, the most overdue first."""
    statement = (
        sa.select(tasks.c.id).where(tasks.c.timer_due_at <= now).order_by(tasks.c.timer_due_at, tasks.c.id).limit(limit)
    )
    return list(conn.scalars(statement))


# An expression: grouped by the column itself, SQLite walks the index of all tasks by client, in their order.
_NAME: Final = tasks.c.client_name.concat("").label("name")
_IN_FLIGHT: Final = (
    sa.select(_NAME, sa.func.count().label("n")).where(tasks.c.slot_until > sa.bindparam("now")).group_by(_NAME)
)


def in_flight(conn: sa.Connection, now: datetime) -> dict[str, int]:
    """How many tasks of each client the vendor may have. Ask in a statement of its own, after the lock on the
    limit."""
    return {row.name: row.n for row in conn.execute(_IN_FLIGHT, {"now": now})}


def count_open_signed_otherwise(conn: sa.Connection, key_ids: Iterable[str]) -> int:
    """Open tasks whose callback URL was signed with a secret that is not among these (0–1000, counted no further)."""
    open_tasks = (
        sa.select(tasks.c.id)
        .where(tasks.c.timer_due_at.is_not(None), tasks.c.callback_key_id.not_in(list(key_ids)))
        .limit(1000)
    )
    return conn.scalar(sa.select(sa.func.count()).select_from(open_tasks.subquery())) or 0


def _row(record: Record) -> tuple[Any, ...]:
    given = record.given
    facts = _facts_of(record.task)
    return (*facts, given.params, given.metadata, given.reference, given.retry_of)


def _task(facts: Sequence[Any], failure: dict[str, Any] | None) -> Task:
    task = Task(*facts)
    task.submission = Submission(task.submission)
    task.status = TaskStatus(task.status)
    task.failure = Failure(**failure) if failure else None
    return task


def record_of(row: Any) -> Record:
    """A task as it is stored, from a row with all columns."""
    given = Given(row.params, row.metadata_, row.reference, row.retry_of)
    return Record(_task([getattr(row, name) for name in FACTS], row.failure), given)
