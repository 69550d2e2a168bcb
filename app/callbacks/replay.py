"""Replay a stored callback: it is read anew and joined, as of the time at which its first copy was received.

The way is that of any callback, the same reading and the same one door; only that nothing is counted again, nothing
is learned of the vendor's timing, and nobody is notified unless that is asked for.
"""

from dataclasses import dataclass, replace
from uuid import UUID

import sqlalchemy as sa
import structlog

from app.app_context import Context
from app.audit import audit
from app.audit.audit import Action, Actor, AuditEntry, new_entry
from app.callbacks import inbound_log
from app.callbacks.commit import disposition_of, observations_of
from app.callbacks.inbound_log import StoredCallback, callback_document
from app.documents.document import Document
from app.errors import Conflict, GatewayError, NotFound
from app.rules.observation import Disposition
from app.rules.transition import Change
from app.tasks.apply import Effects, load_locked, save_locked, step_all
from app.tempolor import decoding, item_readings
from app.tempolor.kinds import FAMILIES

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """``stored``: the row as it is now. ``changed``: the tasks that changed visibly."""

    stored: StoredCallback
    effects: Effects
    changed: tuple[UUID, ...] = ()


async def replay(context: Context, actor: Actor, callback_id: UUID, *, notify: bool) -> Document:
    """Read a callback of the log anew and apply it; durable when this returns. Its row as it is now, with ``changed``:
    the tasks that changed visibly. Raises ``NotFound``; ``Conflict`` where it cannot be applied this time either, and
    its row stays as it is; ``Unavailable``."""
    audit_entry = new_entry(context.clock, actor, Action.REPLAY_CALLBACK, str(callback_id), notify=notify)
    try:
        result = await context.db.write(_replay, context, callback_id, audit_entry, notify)
    except GatewayError:
        raise
    except Exception as error:
        log.error("replay.failed", callback_id=str(callback_id), exc_info=error)
        raise Conflict(f"the callback could not be applied: {type(error).__name__}") from error
    context.committed(result.effects)
    return {**callback_document(result.stored), "changed": [str(task_id) for task_id in result.changed]}


def _replay(
    conn: sa.Connection, context: Context, callback_id: UUID, audit_entry: AuditEntry, notify: bool
) -> ReplayResult:
    stored = inbound_log.find(conn, callback_id)
    if stored is None:
        raise NotFound("there is no such callback")
    audit.append(conn, audit_entry)
    try:
        readings = item_readings.read_callback(context.redactor.body(stored.body), FAMILIES[stored.family]).readings
    except decoding.Malformed as error:
        return _noted(conn, stored, Disposition.MALFORMED, str(error))
    observations = observations_of(stored.task_id, stored.family, readings, stored.received_at, fresh=False)
    change = Change(audit_entry.at, "replayed", stored.task_id, observations, detail={"callback_id": str(stored.id)})
    unit = load_locked(conn, [change])
    if stored.task_id is not None and stored.task_id not in unit.loaded.tasks:
        return _noted(conn, stored, Disposition.ORPHAN, None)
    before = {task_id: task.version for task_id, task in unit.loaded.tasks.items()}
    effects = step_all(unit, [change], context.rules)
    if not notify:
        # The notifications of what was done are dropped.
        unit.loaded.milestones.clear()
        effects.notifies = False
    [result] = effects.results
    if result is None:
        raise AssertionError("the task of a callback that is replayed is loaded")
    disposition = disposition_of(stored.task_id, result.observation_results)
    inbound_log.settle(conn, stored.id, disposition.value, None)
    save_locked(conn, unit, context.rules)
    changed = [task_id for task_id in effects.changed if unit.loaded.tasks[task_id].version > before.get(task_id, 0)]
    return ReplayResult(replace(stored, disposition=disposition.value, detail=None), effects, tuple(sorted(changed)))


def _noted(conn: sa.Connection, stored: StoredCallback, disposition: Disposition, detail: str | None) -> ReplayResult:
    """Update the disposition of a callback that applies to nothing."""
    inbound_log.settle(conn, stored.id, disposition.value, detail)
    return ReplayResult(replace(stored, disposition=disposition.value, detail=detail), Effects())
