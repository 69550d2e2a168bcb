"""Adoption: an item that another system had the vendor make is followed, for a client, from now on."""

from datetime import datetime

from app.rules.client import EXTERNAL
from app.rules.derive import shown
from app.rules.loaded import ItemKey, Loaded, Rules
from app.rules.observation import NamedBy, Observation, Reading, Source, to_us
from app.rules.schedule import SUSPECT
from app.rules.status import TASK_FINAL, TaskStatus
from app.rules.task import Task
from app.rules.timing import later
from app.rules.transition import Change, new_external, step


def strange(loaded: Loaded, key: ItemKey, client_name: str) -> bool:
    """Whether an item belongs to another client than this one and ``external``."""
    item = loaded.items.get(key)
    return item is not None and loaded.tasks[item.task_id].client_name not in (client_name, EXTERNAL)


def adopt(loaded: Loaded, key: ItemKey, client_name: str, at: datetime, rules: Rules) -> Task:
    """The task that follows an item for a client: its own one if it has it, else the one of the client
    ``external``, which becomes its own, else a new one. The item must not be ``strange``."""
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
    named = Observation(
        family, Reading(item_id), Source.SUBMIT, to_us(at), NamedBy.UNBOUND_TOKEN, sighted=False, fresh=False
    )
    step(loaded, Change(at, "adopted", task.id, (named,)), rules)
    item = loaded.items[key]
    # Nobody has seen it yet, and one wrong id spoils a whole answer.
    item.query_due_at, item.query_group = at, SUSPECT
    return task


def _take_over(loaded: Loaded, task: Task, client_name: str, at: datetime, rules: Rules) -> None:
    """Give a task of the client ``external`` to another, with its state. One that has not ended well by itself has
    its deadline anew; what is missing of an expired one is asked for."""
    loaded.shown[task.id] = shown(loaded, task, rules)
    if task.status not in TASK_FINAL or task.status is TaskStatus.EXPIRED:
        task.expired_at = None
        task.deadline_at = later(at, rules.policy.deadline_s)
    version, owner = task.version, task.client_name
    task.client_name = client_name
    step(loaded, Change(at, "adopted", task.id, detail={"from": owner}), rules)
    if task.version == version:
        # Whose it is can be seen.
        task.version, task.updated_at = version + 1, at
