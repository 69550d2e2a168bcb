"""Resolve by hand a submission whose answer was lost."""

from typing import Final
from uuid import UUID

import sqlalchemy as sa

from app.app_context import Context
from app.audit import audit
from app.audit.audit import Action, Actor, AuditEntry, new_entry
from app.errors import Conflict, InvalidRequest, NotFound
from app.limits import hold as holds
from app.limits import shared_limits
from app.limits.shared_limits import Limit
from app.reconcile import due_items
from app.rules.observation import ItemKey, NamedBy, Observation, Reading, Source
from app.rules.status import TaskStatus
from app.rules.submission import FoundNotSent, FoundSent
from app.rules.task import Submission, Task
from app.rules.times import to_us
from app.rules.transition import Change, ObservationResult
from app.tasks import item_rows, task_rows
from app.tasks.apply import Effects, apply

MOST_ITEM_ID_CHARS: Final = 200


async def resolve_sent(context: Context, actor: Actor, task_id: UUID, item_id: str) -> None:
    """A person found the item of an `unconfirmed` task at the vendor (or of one that has failed with
    ``submit_outcome_unknown`` since): the task is accepted, the item is its own as if the answer had named it, and
    is asked about at once. Durable when this returns. Raises ``InvalidRequest``, ``NotFound``, and ``Conflict`` for a
    task in another state (a callback may have named an item meanwhile) and for an item of another submission."""
    if not 1 <= len(item_id) <= MOST_ITEM_ID_CHARS or not item_id.isprintable():
        raise InvalidRequest(f"an item id has 1 to {MOST_ITEM_ID_CHARS} printable characters")
    audit_entry = new_entry(context.clock, actor, Action.RESOLVE_TASK, str(task_id), item_id=item_id)
    context.committed(await context.db.write(_sent, context, task_id, item_id, audit_entry))
    context.wakes.reconcile.set()
    context.wakes.dispatch.set()


async def resolve_not_sent(context: Context, actor: Actor, task_id: UUID) -> None:
    """A person found that the vendor does not have an `unconfirmed` task: it is queued, and sent again. Durable when
    this returns. Raises ``NotFound``, and ``Conflict`` for a task in another state."""
    audit_entry = new_entry(context.clock, actor, Action.RESOLVE_TASK, str(task_id), not_sent=True)
    context.committed(await context.db.write(_not_sent, context, task_id, audit_entry))
    context.wakes.dispatch.set()


def _sent(conn: sa.Connection, context: Context, task_id: UUID, item_id: str, audit_entry: AuditEntry) -> Effects:
    task = _find(conn, task_id)
    now = context.clock.now()
    _check_owner(conn, (task.family, item_id), task)
    observation = Observation(
        task.family, Reading(item_id), Source.SUBMIT, to_us(now), NamedBy.SUBMIT_ANSWER, sighted=False, fresh=False
    )
    detail = {"item_ids": [item_id]}
    effects = apply(conn, [Change(now, "resolved", task_id, (observation,), FoundSent(), detail)], context.rules)
    _check(effects, task)
    [result] = effects.results
    if result is not None and ObservationResult.MISMATCHED in result.observation_results:
        raise Conflict("the item is another task's")
    # It may have been made long ago, and its callbacks have gone nowhere.
    due_items.bring_forward(conn, observation.key, now)
    audit.append(conn, audit_entry)
    return effects


def _not_sent(conn: sa.Connection, context: Context, task_id: UUID, audit_entry: AuditEntry) -> Effects:
    limit = shared_limits.lock_one(conn, Limit.SUBMIT)
    task = _find(conn, task_id)
    change = Change(context.clock.now(), "resolved", task_id, event=FoundNotSent(), detail={"not_sent": True})
    effects = apply(conn, [change], context.rules)
    _check(effects, task)
    shared_limits.save_hold(conn, Limit.SUBMIT, limit, holds.found_not_sent(limit.hold_state, str(task_id)))
    audit.append(conn, audit_entry)
    return effects


def _check_owner(conn: sa.Connection, key: ItemKey, task: Task) -> None:
    """Raise if the item is another submission's: an answer or a callback under that one's own token named it."""
    for owner_id in item_rows.owners(conn, (key,)).values():
        owner = task_rows.find(conn, owner_id, None)
        if owner is not None and owner.task.id != task.id and not owner.task.external:
            raise Conflict(f"the item is that of task {owner_id}")


def _find(conn: sa.Connection, task_id: UUID) -> Task:
    record = task_rows.find(conn, task_id, None)
    if record is None:
        raise NotFound("there is no such task")
    return record.task


def _check(effects: Effects, before: Task) -> None:
    """Raise if the submission's guard, which looked under the task's lock, did not let it; all is rolled back."""
    [result] = effects.results
    if result is None or not result.task_ids:
        raise NotFound("there is no such task")
    if not result.rejected:
        return
    if before.submission is Submission.LAPSED and before.status is TaskStatus.FAILED:
        raise Conflict("the task has failed, and its client was told: retry makes a new one of it")
    raise Conflict(f"only a task whose outcome is unknown can be resolved; this one was {before.status} just now")
