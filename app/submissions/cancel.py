"""Cancel a task before it is sent."""

from uuid import UUID

import sqlalchemy as sa

from app.app_context import Context
from app.audit import audit
from app.audit.audit import Action, Actor, new_entry
from app.errors import Conflict, NotFound
from app.rules.submission import Canceled
from app.rules.transition import Change
from app.tasks import task_rows
from app.tasks.apply import Effects, apply


async def cancel(context: Context, actor: Actor, task_id: UUID, client_name: str | None) -> None:
    """Cancel a queued task of this client's (None: anybody's); durable when this returns. Raises ``NotFound``, and
    ``Conflict`` for one that is not queued, or that a sender claims first."""
    context.committed(await context.db.write(_cancel, context, actor, task_id, client_name))


def _cancel(conn: sa.Connection, context: Context, actor: Actor, task_id: UUID, client_name: str | None) -> Effects:
    now = context.clock.now()
    record = task_rows.find(conn, task_id, client_name)
    if record is None:
        raise NotFound("there is no such task")
    # Decided by the submission's guard under the task's lock: whoever claimed it first has it, and then the error
    # rolls everything back.
    effects = apply(conn, [Change(now, "canceled", task_id, event=Canceled())], context.rules)
    [result] = effects.results
    if result is None or not result.task_ids:
        raise NotFound("there is no such task")
    if result.rejected:
        raise Conflict("only a task that is queued, and of which the vendor has made nothing, can be canceled")
    if record.task.client_name != actor.name:
        audit_entry = new_entry(context.clock, actor, Action.CANCEL_TASK, str(task_id), client=record.task.client_name)
        audit.append(conn, audit_entry)
    return effects
