"""The queue of files to be copied, and the list of those that are kept; in the caller's transaction.

A job is claimed under a lease, which is a fence too: whoever settles it must still hold the one that it was given. A
file's path is listed before the file is written, and is one writer's alone: what a late one stores replaces nothing.
"""

import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import copy_jobs, files, items, tasks
from app.rules.observation import ItemKey
from app.rules.task import Copy
from app.runtime.file_links import ArtifactRef

MOST_COUNTED: Final = 100_000
RESERVED: Final = timedelta(hours=6)
"""How long a path waits for its file. No copy and no upload takes as long."""
DELETING: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed job. ``attempts``, ``dead_links``: how often it failed before, see the table; ``leased_until`` is the
    fence of this claim."""

    ref: ArtifactRef
    task_id: UUID
    client_name: str
    created_at: datetime
    attempts: int
    dead_links: int
    ends_at: datetime
    leased_until: datetime

    @property
    def key(self) -> ItemKey:
        return (self.ref.family, self.ref.item_id)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A path that one writer alone may write to. ``until`` is its fence; ``number``: how many had to be tried."""

    path: str
    until: datetime
    number: int


def claim(
    conn: sa.Connection,
    now: datetime,
    leased_until: datetime,
    limit: int,
    per_task: int,
    busy: Collection[UUID],
    *,
    with_ended: bool = False,
) -> list[Job]:
    """Claim due jobs, those whose links end first, at most ``limit``, and of a task so many as are left of
    ``per_task``. ``busy``: the task of each copy that is under way here. ``with_ended``: where these leave places, also
    jobs whose links have ended, by what is known."""
    ends_at = copy_jobs.c.ends_at
    under_way: list[UUID] = list(busy)
    full = sorted({task_id for task_id in under_way if under_way.count(task_id) >= per_task})
    jobs: list[Job] = []
    for chosen in (ends_at > now, ends_at <= now) if with_ended else (ends_at > now,):
        if len(jobs) == limit:
            break
        statement = (
            sa.select(copy_jobs, tasks.c.client_name, tasks.c.created_at.label("task_created_at"))
            .join(tasks, tasks.c.id == copy_jobs.c.task_id)
            .where(copy_jobs.c.due_at <= now, chosen, copy_jobs.c.task_id.not_in(full))
            .order_by(ends_at, copy_jobs.c.due_at)
            .limit(limit * 4)
        )
        for row in conn.execute(dialect.locked(statement, of=copy_jobs, skip=True)):
            if len(jobs) == limit or under_way.count(row.task_id) >= per_task:
                continue
            under_way.append(row.task_id)
            ref = ArtifactRef(row.family, row.item_id, row.name)
            made_at, counts = row.task_created_at, (row.attempts, row.dead_links)
            jobs.append(Job(ref, row.task_id, row.client_name, made_at, *counts, row.ends_at, leased_until))
    for job in jobs:
        conn.execute(copy_jobs.update().where(*_job_of(job.ref)).values(due_at=leased_until, leased_until=leased_until))
    return jobs


def renew(conn: sa.Connection, job: Job, leased_until: datetime) -> bool:
    """Extend a lease; false if it was lost."""
    values = {"due_at": leased_until, "leased_until": leased_until}
    return conn.execute(copy_jobs.update().where(*_is_held(job)).values(**values)).rowcount == 1


def put_back(
    conn: sa.Connection, job: Job, due_at: datetime, counted: Literal["attempts", "dead_links"] | None = None
) -> bool:
    """End a lease with the job still to be done; false if the lease was lost. ``counted``: as what it counts that it
    failed. Where a new link came meanwhile it is due at once, and it did not fail at that one."""
    same_link, c = copy_jobs.c.ends_at == job.ends_at, copy_jobs.c
    values: dict[str, Any] = {
        "due_at": sa.case((same_link, sa.literal(due_at, c.due_at.type)), else_=c.created_at),
        "leased_until": None,
    }
    if counted is not None:
        values[counted] = sa.case((same_link, c[counted] + 1), else_=c[counted])
    return conn.execute(copy_jobs.update().where(*_is_held(job)).values(**values)).rowcount == 1


def has_new_link(conn: sa.Connection, job: Job) -> bool:
    """Whether another link became known since a job was claimed."""
    ends_at = conn.scalar(sa.select(copy_jobs.c.ends_at).where(*_is_held(job)))
    return ends_at is not None and ends_at != job.ends_at


def finish(conn: sa.Connection, job: Job) -> bool:
    """End a job; false if its lease was lost."""
    return conn.execute(copy_jobs.delete().where(*_is_held(job))).rowcount == 1


def reserve(
    conn: sa.Connection,
    path_at: Callable[[int], str],
    name: str,
    client_name: str,
    now: datetime,
    ref: ArtifactRef | None = None,
    task_id: UUID | None = None,
) -> Reservation:
    """List a path before anything is written to it, as a file that is to be deleted once ``RESERVED`` has passed: what
    a process leaves that dies is found by that. ``path_at``: the path by its number, from 1 on; one that is listed
    already, as by a writer that may only be slow, is passed over."""
    values = {
        "task_id": task_id,
        "family": ref.family if ref else None,
        "item_id": ref.item_id if ref else None,
        "name": name,
        "client_name": client_name,
        "bytes": 0,
        "sha256": "",
        "media_type": "",
        "kept_at": now,
        "doomed_at": now + RESERVED,
    }
    for number in itertools.count(1):
        path = path_at(number)
        insert = dialect.insert(conn, files).values(path=path, **values)
        if conn.execute(insert.on_conflict_do_nothing(index_elements=["path"])).rowcount == 1:
            return Reservation(path, now + RESERVED, number)
    raise AssertionError


def reserve_for(conn: sa.Connection, job: Job, path_at: Callable[[int], str], now: datetime) -> Reservation | None:
    """Reserve a path for the file of a job; None if its lease was lost."""
    if conn.scalar(sa.select(sa.literal(1)).where(*_is_held(job))) is None:
        return None
    return reserve(conn, path_at, job.ref.name, job.client_name, now, job.ref, job.task_id)


def keep(conn: sa.Connection, reserved: Reservation, copy: Copy, now: datetime) -> bool:
    """List the file at a reserved path as kept; false if the reservation has ended."""
    values = {"bytes": copy.bytes, "sha256": copy.sha256, "media_type": copy.media_type}
    kept = files.update().where(*_is_reserved(reserved)).values(**values, kept_at=now, doomed_at=None)
    return conn.execute(kept).rowcount == 1


def release(conn: sa.Connection, reserved: Reservation) -> None:
    """Give up a path to which nothing was written."""
    conn.execute(files.delete().where(*_is_reserved(reserved)))


def left_over(conn: sa.Connection, job: Job, reserved: Reservation) -> list[str]:
    """The paths at which other writers may have left the file of a job."""
    c = files.c
    of_it = sa.and_(c.family == job.ref.family, c.item_id == job.ref.item_id, c.name == job.ref.name)
    statement = sa.select(c.path).where(of_it, c.path != reserved.path, c.doomed_at.is_not(None))
    return list(conn.scalars(statement.order_by(c.path)))


def owners_of_item(conn: sa.Connection, item_id: str, client_name: str | None) -> list[tuple[str, UUID]]:
    """The families and tasks of the items of this id that a client may see (None: all)."""
    statement = (
        sa.select(items.c.family, items.c.task_id)
        .join(tasks, tasks.c.id == items.c.task_id)
        .where(items.c.item_id == item_id)
        .order_by(items.c.family)
    )
    if client_name is not None:
        statement = statement.where(tasks.c.client_name == client_name)
    return [(row.family, row.task_id) for row in conn.execute(statement)]


def claim_doomed(conn: sa.Connection, now: datetime, limit: int) -> list[str]:
    """Claim paths of files that are to be deleted, those that wait longest first. While one is claimed nobody else
    deletes it: its path might be that of a new file by then."""
    due = files.c.doomed_at
    statement = sa.select(files.c.path).where(due <= now).order_by(due).limit(limit)
    paths = list(conn.scalars(dialect.locked(statement, of=files, skip=True)))
    if paths:
        conn.execute(files.update().where(files.c.path.in_(paths)).values(doomed_at=now + DELETING))
    return paths


def forget(conn: sa.Connection, paths: Sequence[str]) -> None:
    """Remove files from the list that were deleted from the store."""
    if paths:
        gone = sa.and_(dialect.any_of(conn, files.c.path, list(paths)), files.c.doomed_at.is_not(None))
        conn.execute(files.delete().where(gone))


def kept_before(conn: sa.Connection, before: datetime, limit: int) -> list[Any]:
    """Files of items that were kept before a time, the oldest first, with the tasks that the items belong to now."""
    old = sa.and_(files.c.kept_at < before, files.c.doomed_at.is_(None), files.c.item_id.is_not(None))
    own = sa.and_(items.c.family == files.c.family, items.c.item_id == files.c.item_id)
    columns = (files.c.path, files.c.family, files.c.item_id, files.c.name, items.c.task_id)
    statement = sa.select(*columns).outerjoin(items, own).where(old).order_by(files.c.kept_at).limit(limit)
    return list(conn.execute(statement))


def list_files(conn: sa.Connection, after: str, limit: int) -> list[Any]:
    """The files that are kept, by path."""
    kept = sa.and_(files.c.path > after, files.c.doomed_at.is_(None))
    return list(conn.execute(sa.select(files).where(kept).order_by(files.c.path).limit(limit)))


def is_kept(conn: sa.Connection, path: str) -> bool:
    """Whether a file is kept still."""
    kept = sa.select(sa.literal(1)).where(files.c.path == path, files.c.doomed_at.is_(None))
    return conn.scalar(kept) is not None


def listed(conn: sa.Connection, paths: Collection[str]) -> set[str]:
    """Those of the paths that are listed, kept or not."""
    return set(conn.scalars(sa.select(files.c.path).where(dialect.any_of(conn, files.c.path, list(paths)))))


def backlog(conn: sa.Connection) -> tuple[int, datetime | None]:
    """How many copies are to be made (counted up to ``MOST_COUNTED``), and since when the oldest waits."""
    some = sa.select(copy_jobs.c.created_at).limit(MOST_COUNTED).subquery()
    row = conn.execute(sa.select(sa.func.count(), sa.func.min(some.c.created_at))).one()
    return row[0], row[1]


def totals(conn: sa.Connection) -> tuple[int, int]:
    """How many files are kept, and their bytes."""
    total = sa.func.coalesce(sa.func.sum(files.c.bytes), 0)
    row = conn.execute(sa.select(sa.func.count(), total).where(files.c.doomed_at.is_(None))).one()
    return row[0], int(row[1])


def _job_of(ref: ArtifactRef) -> tuple[sa.ColumnElement[bool], ...]:
    c = copy_jobs.c
    return (c.family == ref.family, c.item_id == ref.item_id, c.name == ref.name)


def _is_reserved(reserved: Reservation) -> tuple[sa.ColumnElement[bool], ...]:
    return (files.c.path == reserved.path, files.c.doomed_at == reserved.until)


def _is_held(job: Job) -> tuple[sa.ColumnElement[bool], ...]:
    return (*_job_of(job.ref), copy_jobs.c.leased_until == job.leased_until)
