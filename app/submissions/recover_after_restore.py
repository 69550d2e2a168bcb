"""Recover after a restore or a failover: what the database may have forgotten was sent is not sent again (G5).

A restored database, or a standby that was behind, shows the state of an earlier moment. A task that it shows as
queued, or as being sent, may have been sent after that moment; to send it now could be to pay for it twice. So it
becomes `unconfirmed`: a callback settles it, or a person does, else it fails with ``submit_outcome_unknown``.

Exactly: every task that is `queued` or `submitting`, of which no item is known, and that was accepted no later than
``accepted_before``, the moment of the recovery. ``sent_since`` is the moment up to which the database surely is
complete (the end of the backup, the last transaction that was replayed), or any earlier one. It exempts no
task: one that had waited for hours before may have been sent right after it. It identifies the recovery: run again with
the same value, it uses the ``accepted_before`` of the first run and skips what was recovered then, so that an
interrupted recovery can be repeated, and tasks accepted or queued again since are left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
import structlog

from app.app_context import Context
from app.audit import audit
from app.audit.audit import Action, Actor, new_entry
from app.database import dialect
from app.database.tables import tasks, timeline
from app.errors import InvalidRequest
from app.limits import shared_limits
from app.limits.shared_limits import Limit
from app.rules.status import TaskStatus
from app.rules.submission import MayHaveBeenSent
from app.rules.times import rfc3339
from app.rules.transition import Change
from app.runtime.clock import first_id_of
from app.tasks.apply import Effects, apply
from app.tasks.task_rows import ID_LATER_S

MOST_COUNTED: Final = 1_000_000
BATCH: Final = 100
ENTRY: Final = "recovered"
_STATUSES: Final = (TaskStatus.QUEUED, TaskStatus.SUBMITTING)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Recovery:
    """One recovery. ``first_at``: when it was begun, if it was begun before."""

    sent_since: datetime
    accepted_before: datetime
    first_at: datetime | None

    @property
    def target(self) -> str:
        return self.sent_since.isoformat()

    def possibly_sent(self, status: TaskStatus) -> sa.Select[UUID]:
        """The tasks in a status that may have been sent, but for those that were recovered already."""
        statement = sa.select(tasks.c.id).where(
            tasks.c.status == status.value,
            # The id's bound is what the index serves; the exact time decides.
            tasks.c.id < first_id_of(self.accepted_before, ID_LATER_S),
            tasks.c.created_at <= self.accepted_before,
        )
        if self.first_at is None:
            return statement
        has_entry = sa.exists().where(
            timeline.c.task_id == tasks.c.id, timeline.c.type == ENTRY, timeline.c.at >= self.first_at
        )
        return statement.where(~has_entry)


async def recover(
    context: Context,
    actor: Actor,
    sent_since: datetime,
    accepted_before: datetime | None = None,
    *,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Make the tasks that may have been sent already `unconfirmed`, in batches, each durable by itself; with
    ``dry_run`` count them. ``accepted_before``: now, or that of the first time with this ``sent_since``. Returns how
    many, by which moments, and whether submissions are held by hand. Raises ``InvalidRequest`` for times that are
    in the future or the wrong way round, and ``Unavailable``: then repeat it."""
    now, sent_since = context.clock.now(), sent_since.astimezone(UTC)
    recovery, is_held = await context.db.read(_begin, sent_since, accepted_before, now)
    if dry_run:
        counts = [await context.db.read(_count, recovery.possibly_sent(status)) for status in _STATUSES]
        count = sum(counts)
    else:
        if not is_held:
            log.warning("recover.not_held", remedy="submissions hold, before what is queued is sent again")
        count = 0
        for status in _STATUSES:
            count += await _recover_all(context, actor, recovery, status)
        log.warning("recover.done", tasks=count, sent_since=recovery.target, actor=actor.name)
    return {
        "tasks": count,
        "dry_run": dry_run,
        "sent_since": recovery.sent_since,
        "accepted_before": recovery.accepted_before,
        "held_by_hand": is_held,
    }


async def _recover_all(context: Context, actor: Actor, recovery: _Recovery, status: TaskStatus) -> int:
    count, after = 0, None
    while True:
        step = partial(_recover_some, context=context, actor=actor, recovery=recovery, status=status, after=after)
        task_ids, effects = await context.db.write(step)
        context.committed(effects)
        count += len(effects.changed)
        if len(task_ids) < BATCH:
            return count
        after = task_ids[-1]


def _recover_some(
    conn: sa.Connection, context: Context, actor: Actor, recovery: _Recovery, status: TaskStatus, after: UUID | None
) -> tuple[list[UUID], Effects]:
    """Recover one batch. A task that is claimed, named or canceled meanwhile is left to what happened to it: the guard
    looks under its lock."""
    task_ids = _list(conn, recovery.possibly_sent(status), after)
    # Made first: its time is that from which on the timelines tell of this recovery.
    audit_entry = new_entry(context.clock, actor, Action.RECOVER, recovery.target)
    detail = {"sent_since": rfc3339(recovery.sent_since)}
    changes = [Change(audit_entry.at, ENTRY, task_id, event=MayHaveBeenSent(), detail=detail) for task_id in task_ids]
    effects = apply(conn, changes, context.rules) if changes else Effects()
    _set_callback_key(conn, sorted(effects.changed), context.tokens.signing_key_id)
    if task_ids or status is _STATUSES[0]:
        moments = {"sent_since": recovery.target, "accepted_before": recovery.accepted_before.isoformat()}
        audit.append(conn, replace(audit_entry, detail={"tasks": len(effects.changed), **moments}))
    return task_ids, effects


def _begin(
    conn: sa.Connection, sent_since: datetime, accepted_before: datetime | None, now: datetime
) -> tuple[_Recovery, bool]:
    """The recovery that these moments mean, and whether submissions are held by hand."""
    first = audit.find_first(conn, Action.RECOVER, sent_since.isoformat())
    if accepted_before is None:
        accepted_before = datetime.fromisoformat(first.detail["accepted_before"]) if first is not None else now
    if max(sent_since, accepted_before) > now:
        raise InvalidRequest("the times of a recovery must be in the past")
    if sent_since > accepted_before:
        raise InvalidRequest("nothing was accepted before the recovery and sent after it")
    is_held = shared_limits.read(conn)[Limit.SUBMIT].hold_state.by_hand is not None
    return _Recovery(sent_since, accepted_before, first.at if first is not None else None), is_held


def _list(conn: sa.Connection, possibly_sent: sa.Select[UUID], after: UUID | None) -> list[UUID]:
    """Read the first batch of these tasks after an id, by their ids."""
    statement = possibly_sent.order_by(tasks.c.id).limit(BATCH)
    if after is not None:
        statement = statement.where(tasks.c.id > after)
    return list(conn.scalars(statement))


def _count(conn: sa.Connection, possibly_sent: sa.Select[UUID]) -> int:
    """Count these tasks, up to ``MOST_COUNTED``."""
    bounded = possibly_sent.limit(MOST_COUNTED).subquery()
    return conn.scalar(sa.select(sa.func.count()).select_from(bounded)) or 0


def _set_callback_key(conn: sa.Connection, ids: Sequence[UUID], key_id: str) -> None:
    """Note which secret signs the URLs of those tasks of which the database does not know it."""
    if ids:
        unknown = sa.and_(dialect.any_of(conn, tasks.c.id, ids), tasks.c.callback_key_id.is_(None))
        conn.execute(tasks.update().where(unknown).values(callback_key_id=key_id))
