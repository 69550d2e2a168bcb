"""Adopt items that another system submitted to the vendor: a client follows them from now on."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from app.app_context import Context
from app.audit import audit
from app.audit.audit import Action, Actor, AuditEntry, new_entry
from app.clients import client_rows
from app.database import dialect
from app.database.tables import tasks
from app.errors import Conflict, InvalidRequest
from app.rules.client import EXTERNAL
from app.rules.derive_task import items_progress
from app.rules.loaded_state import Loaded, Rules
from app.rules.observation import ItemKey, NamedBy, Observation, Reading, Source
from app.rules.schedule import SUSPECT
from app.rules.status import TASK_FINAL, TaskStatus
from app.rules.task import Task
from app.rules.times import later, to_us
from app.rules.transition import Change, new_external, step
from app.rules.views import VisibleState
from app.submissions.accept_task import AcceptedTasks
from app.tasks.apply import Effects, load_locked, save_locked, step_all


def belongs_to_another(loaded: Loaded, key: ItemKey, client_name: str) -> bool:
    """Whether an item belongs to another client than this one and ``external``."""
    item = loaded.items.get(key)
    return item is not None and loaded.tasks[item.task_id].client_name not in (client_name, EXTERNAL)


def follow_item(loaded: Loaded, key: ItemKey, client_name: str, at: datetime, rules: Rules) -> Task:
    """The task that follows an item for a client: its own one if it has it, else the one of the client
    ``external``, which becomes its own, else a new one. The item must not belong to another."""
    item = loaded.items.get(key)
    if item is None:
        return _follow(loaded, key, client_name, at, rules)
    task = loaded.tasks[item.task_id]
    if task.client_name != client_name:
        _take_over(loaded, task, client_name, at, rules)
    return task


def _follow(loaded: Loaded, key: ItemKey, client_name: str, at: datetime, rules: Rules) -> Task:
    """A new external task. Its item is asked about at once: what was called back before came to nobody."""
    family, item_id = key
    task = new_external(loaded, at, family, client_name, rules)
    # Named as weakly as by an unbound token: who submitted it through us still gets it.
    observation = Observation(
        family, Reading(item_id), Source.SUBMIT, to_us(at), NamedBy.UNBOUND_TOKEN, sighted=False, fresh=False
    )
    step(loaded, Change(at, "adopted", task.id, (observation,)), rules)
    item = loaded.items[key]
    # Nobody has seen it yet, and one wrong id spoils a whole answer.
    item.query_due_at, item.query_group = at, SUSPECT
    return task


def _take_over(loaded: Loaded, task: Task, client_name: str, at: datetime, rules: Rules) -> None:
    """Give a task of the client ``external`` to another, with its state. One that has not ended well by itself has
    its deadline anew; what is missing of an expired one is asked for."""
    loaded.visible[task.id] = VisibleState(task, items_progress(loaded, task, rules))
    if task.status not in TASK_FINAL or task.status is TaskStatus.EXPIRED:
        task.expired_at = None
        task.deadline_at = later(at, rules.policy.deadline_s)
    version, owner = task.version, task.client_name
    task.client_name = client_name
    step(loaded, Change(at, "adopted", task.id, detail={"from": owner}), rules)
    if task.version == version:
        # Whose it is can be seen.
        task.version, task.updated_at = version + 1, at


async def adopt(
    context: Context, actor: Actor, client_name: str, family: str, item_ids: Sequence[str]
) -> AcceptedTasks:
    """The tasks that follow these items for this client, one for each id in order; durable when this returns. All
    are adopted or none: raises ``Conflict``, naming them, if some are another client's; ``InvalidRequest`` if there
    is no such client, or it was revoked; and ``Unavailable``. Whoever may call this can name any item of the
    vendor's account, and learns whose it is: an admin's."""
    now = context.clock.now()
    audit_entry = new_entry(
        context.clock, actor, Action.ADOPT_ITEMS, client_name, family=family, item_ids=list(item_ids)
    )
    task_ids, effects = await context.db.write(_adopt, context, client_name, family, item_ids, now, audit_entry)
    context.committed(effects)
    context.wakes.reconcile.set()
    return AcceptedTasks(task_ids)


def _adopt(
    conn: sa.Connection,
    context: Context,
    client_name: str,
    family: str,
    item_ids: Sequence[str],
    now: datetime,
    audit_entry: AuditEntry,
) -> tuple[tuple[UUID, ...], Effects]:
    if client_rows.find_active(conn, client_name) is None:
        raise InvalidRequest("the request is not valid", (("client", "there is no such client, or it was revoked"),))
    named_items = tuple(Observation(family, Reading(item_id), Source.SUBMIT, to_us(now)) for item_id in item_ids)
    unit = load_locked(conn, [Change(now, None, observations=named_items)])
    loaded = unit.loaded
    foreign = [
        observation.reading.item_id
        for observation in named_items
        if belongs_to_another(loaded, observation.key, client_name)
    ]
    if foreign:
        raise Conflict(f"these items are another client's: {', '.join(foreign)}")
    followed = [follow_item(loaded, observation.key, client_name, now, context.rules) for observation in named_items]
    effects = step_all(unit, (), context.rules)
    save_locked(conn, unit, context.rules)
    _give(conn, [task.id for task in followed if not task.new], client_name)
    if effects.changed:
        audit.append(conn, audit_entry)
    return tuple(task.id for task in followed), effects


def _give(conn: sa.Connection, ids: Sequence[UUID], client_name: str) -> None:
    """Give locked tasks to this client."""
    if ids:
        conn.execute(tasks.update().where(dialect.any_of(conn, tasks.c.id, list(ids))).values(client_name=client_name))
