"""Which milestones a task has passed, told from the states that a stream shows: what ``listen`` forwards."""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from app.rules.status import TASK_FINAL

MOST_TASKS: Final = 10_000
"""Tasks whose last state is remembered; of one that was forgotten an end may be forwarded twice."""


class Milestone(NamedTuple):
    """``type``: of the notification. ``at``: when it was passed, as the task has it."""

    type: str
    at: str


@dataclass(slots=True)
class _Seen:
    version: int = 0
    passed: frozenset[str] = frozenset()
    end: Any = None


class Milestones:
    """What was seen of each task of a stream. A stream shows the latest state, not each, so that several milestones may
    be passed at once, and tells the same twice after a resumption. What was passed before ``since`` is old news."""

    def __init__(self, since: datetime) -> None:
        self._since = since
        self._seen: OrderedDict[str, _Seen] = OrderedDict()

    def passed(self, task: dict[str, Any]) -> list[Milestone]:
        """The milestones that a task has passed since it was seen last, in their order; its end again, where a file
        came (or was given up) later."""
        before = self._seen.get(task["id"]) or self._before(task)
        if task["version"] <= before.version:
            return []
        reached = _reached(task)
        new = [one for one in reached if one.type not in before.passed]
        end = _end_of(task)
        if end is not None and end != before.end:
            new.append(Milestone(f"task.{task['status']}", task["finished_at"] or task["updated_at"]))
        self._seen[task["id"]] = _Seen(task["version"], before.passed | {one.type for one in reached}, end)
        self._seen.move_to_end(task["id"])
        if len(self._seen) > MOST_TASKS:
            self._seen.popitem(last=False)
        return new

    def _before(self, task: dict[str, Any]) -> _Seen:
        """A task that is seen for the first time, as it was when the stream began."""
        old = frozenset(one.type for one in _reached(task) if self._is_old(one.at))
        ended = task["finished_at"] is not None and self._is_old(task["finished_at"])
        return _Seen(0, old, _end_of(task) if ended else None)

    def _is_old(self, at: str) -> bool:
        return datetime.fromisoformat(at) < self._since


def _reached(task: dict[str, Any]) -> list[Milestone]:
    times = {"task.running": task["submitted_at"], "task.playable": task["playable_at"]}
    return [Milestone(name, at) for name, at in times.items() if at is not None]


def _end_of(task: dict[str, Any]) -> Any:
    """How a task ended, and with which files; None while it has not."""
    if task["status"] not in TASK_FINAL:
        return None
    files = {
        item["item_id"]: {name: one["status"] for name, one in item["artifacts"].items()} for item in task["items"]
    }
    return task["status"], files
