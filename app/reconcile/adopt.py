"""Taking on items that another system submitted to the vendor: followed from now on by callbacks and queries."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from app.audit import audit_rows
from app.audit.acts import Act, Action, By
from app.audit.audit import act
from app.clients import client_rows
from app.context import Context
from app.errors import Conflict, InvalidRequest
from app.reconcile import adoption
from app.rules.observation import Observation, Reading, Source, to_us
from app.rules.transition import Change
from app.submissions.accept import AcceptedTasks
from app.tasks import task_rows
from app.tasks.apply import Applied, load_locked, save_locked, step_all


async def adopt(context: Context, by: By, client_name: str, family: str, item_ids: Sequence[str]) -> AcceptedTasks:
    """The tasks that follow these items for this client, one for each id in order; durable when this returns. All
    are adopted or none: raises ``Conflict``, naming them, if some are another client's; ``InvalidRequest`` if there
    is no such client, or it was revoked; and ``Unavailable``. Whoever may call this can name any item of the
    vendor's account, and learns whose it is: an admin's."""
    now = context.clock.now()
    done = act(context.clock, by, Action.ADOPT_ITEMS, client_name, family=family, item_ids=list(item_ids))
    task_ids, applied = await context.db.write(_adopt, context, client_name, family, item_ids, now, done)
    context.committed(applied)
    context.wakes.reconcile.set()
    return AcceptedTasks(task_ids)


def _adopt(
    conn: sa.Connection,
    context: Context,
    client_name: str,
    family: str,
    item_ids: Sequence[str],
    now: datetime,
    done: Act,
) -> tuple[tuple[UUID, ...], Applied]:
    if not client_rows.is_active(conn, client_name):
        raise InvalidRequest("the request is not valid", (("client", "there is no such client, or it was revoked"),))
    wanted = tuple(Observation(family, Reading(item_id), Source.SUBMIT, to_us(now)) for item_id in item_ids)
    unit = load_locked(conn, [Change(now, None, observations=wanted)])
    loaded = unit.loaded
    strange = [seen.reading.item_id for seen in wanted if adoption.strange(loaded, seen.key, client_name)]
    if strange:
        raise Conflict(f"these items are another client's: {', '.join(strange)}")
    followed = [adoption.adopt(loaded, seen.key, client_name, now, context.rules) for seen in wanted]
    applied = step_all(unit, (), context.rules)
    save_locked(conn, unit, context.rules)
    task_rows.give(conn, [task.id for task in followed if not task.new], client_name)
    if applied.changed:
        audit_rows.record(conn, done)
    return tuple(task.id for task in followed), applied
