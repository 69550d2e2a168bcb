"""Taking a task back before it is sent."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from app.domain.submission import Canceled
from app.domain.transition import Change
from app.errors import Conflict, NotFound
from app.flows.apply import Applied, apply
from app.flows.context import Context
from app.storage import tasks


async def cancel(context: Context, task_id: UUID, client_name: str | None) -> None:
    """End a queued task of this client's (None: anybody's); durable when this returns. Raises ``NotFound``, and
    ``Conflict`` for one that is not queued, or that a sender claims first."""
    context.committed(await context.db.write(_cancel, context, task_id, client_name, context.clock.now()))


def _cancel(conn: sa.Connection, context: Context, task_id: UUID, client_name: str | None, now: datetime) -> Applied:
    if tasks.find(conn, task_id, client_name) is None:
        raise NotFound("there is no such task")
    # Decided by the submission's guard under the task's lock: whoever claimed it first has it, and then the error
    # rolls everything back.
    applied = apply(conn, [Change(now, "canceled", task_id, event=Canceled())], context.rules)
    [outcome] = applied.outcomes
    if outcome is None or not outcome.task_ids:
        raise NotFound("there is no such task")
    if outcome.guarded:
        raise Conflict("only a task that is queued, and of which the vendor has made nothing, can be canceled")
    return applied
