"""The visible state of a task: what a client can see of it and that can change, to compare two moments."""

from collections.abc import Sequence
from typing import Any, Final

from app.rules.item_view import Progress
from app.rules.join import ItemState
from app.rules.status import TASK_FINAL
from app.rules.task import CopyStatus, Item, Task

_STATUS: Final = 0
_SUBMITTED_AT: Final = 2

ItemsProgress = Sequence[tuple[Item, Progress]]
"""The items of a task, each with how far it is."""


class VisibleState:
    """What a task shows at one moment; equal where no client could tell the two apart. A state is never changed in
    place, so it is looked into only where it was replaced."""

    __slots__ = ("_items", "_kept", "_playable", "_task", "archived")

    def __init__(self, task: Task, progress_of_items: ItemsProgress) -> None:
        self._task = (task.status, task.failure, task.submitted_at, task.deadline_at, task.submitted_model)
        self._playable = task.playable_at is not None
        self._items = [((item.item_id, progress, item.copies), item.state) for item, progress in progress_of_items]
        copies = [copy for item, _ in progress_of_items for copy in (item.copies or {}).values()]
        self._kept = sum(copy.status is CopyStatus.KEPT for copy in copies)
        # A copy that was given up, and of which the client was told so, holds nothing up while it is tried once more.
        self.archived = (
            task.status in TASK_FINAL
            and bool(copies)
            and not any(copy.status is CopyStatus.PENDING and not copy.again for copy in copies)
            and all(progress.settled for _, progress in progress_of_items)
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VisibleState):
            return NotImplemented
        if self._task != other._task or len(self._items) != len(other._items):
            return False
        return all(
            ours[0] == theirs[0] and (ours[1] is theirs[1] or _look(ours[1]) == _look(theirs[1]))
            for ours, theirs in zip(self._items, other._items, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def milestones_to(self, after: "VisibleState") -> list[str]:
        """The notifications that are due between two moments of one task, in their order: each milestone that was
        passed, also when several were at once; the end again, where something came (or was given up) later; and that
        the files are archived again, where one is kept that had been given up."""
        passed = []
        if after._task[_SUBMITTED_AT] is not None and self._task[_SUBMITTED_AT] is None:
            passed.append("running")
        if after._playable and not self._playable:
            passed.append("playable")
        status = after._task[_STATUS]
        if status in TASK_FINAL and (status is not self._task[_STATUS] or self._lacking() != after._lacking()):
            passed.append(status.value)
        if after.archived and (not self.archived or after._kept > self._kept):
            passed.append("archived")
        return passed

    def _lacking(self) -> list[Any]:
        return [(item_id, progress.lacking) for (item_id, progress, _), _ in self._items]


def _look(state: ItemState) -> Any:
    return (
        state.statuses,
        {name: state.latest_url(name) for name in state.urls},
        {name: kept[1] for name, kept in state.values.items()},
        {name: kept[1] for name, kept in state.large.items()},
        state.left_out,
    )
