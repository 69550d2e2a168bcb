"""Task warnings: what is odd about a task though nothing has failed, as a list of words. Derived whenever the task is
shown, and stored nowhere."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import islice
from typing import Final

from app.rules.join import ItemState
from app.rules.observation import is_left_out, is_odd, name_of
from app.rules.status import ITEM_ORDER, SUB_ORDER, TaskStatus
from app.rules.task import Item, Task
from app.rules.transition import ENDED_WITHOUT_VENDOR, MOST_ITEMS
from app.rules.views import ArtifactStatus, ItemView
from app.tasks.task_rows import TaskRecord
from app.tempolor.kinds import KINDS

MOST_PARAMS_LOOKED_AT: Final = 50
"""Unknown params of one task."""
MOST_PARAM_CHARS: Final = 40
SHORT_CHARS: Final = 5
"""In a name of up to so many one letter may differ, in a longer one two."""
_KNOWN_PARAMS: Final = frozenset(name for kind in KINDS.values() for name in kind.params.model_fields)


class TaskWarning(StrEnum):
    """The words. Two of them name what they are about, behind a colon."""

    UNKNOWN_STATUS = "unknown_status"
    """The vendor sent a status that nobody knows. It counts as running, and is shown in ``vendor``."""
    ODD_VALUE = "odd_value"
    """A known field is of a type or form that is not understood. It is shown in ``vendor`` alone."""
    VALUES_LEFT_OUT = "values_left_out"
    """A value of the vendor is too long (its length is shown in its place), or one of too many fields."""
    ITEMS_LEFT_OUT = "items_left_out"
    """The task has as many items as one can have; further ones are not taken."""
    SETTLED_AFTER_EXPIRY = "settled_after_expiry"
    """The task had expired when the vendor's final word came."""
    NAMED_WHILE_CANCELED = "named_while_canceled"
    """The vendor has the task, though it had ended without it: a callback named an item of it. Nothing is odd about one
    that was still queued: it is running now."""
    NAMED_WHILE_REFUSED = "named_while_refused"
    NAMED_WHILE_LAPSED = "named_while_lapsed"
    """The same, and the outcome of its submission never became known."""
    ARTIFACT_FAILED = "artifact_failed"
    """A task that is ``part_failed`` lacks this artifact, of one item at least."""
    UNKNOWN_PARAM = "unknown_param"
    """The task names this param, which no kind has, and which looks like a misspelling. It is passed on."""


def warnings_of(record: TaskRecord, views: Sequence[tuple[Item, ItemView]], *, shortened: bool = False) -> list[str]:
    """Derive the warnings of a task with its items, each once; ``shortened``: its document does not show all that is
    kept. A new word is a rule here and a row in ``docs/integrate.md``."""
    items = [item for item, _ in views]
    rules = (
        (TaskWarning.UNKNOWN_STATUS, any(_has_unknown_status(item.state) for item in items)),
        (TaskWarning.ODD_VALUE, any(_has_odd_value(item.state) for item in items)),
        (TaskWarning.VALUES_LEFT_OUT, shortened or any(_has_left_out(item.state) for item in items)),
        (TaskWarning.ITEMS_LEFT_OUT, len(items) >= MOST_ITEMS),
        (TaskWarning.SETTLED_AFTER_EXPIRY, _is_settled_after_expiry(record.task)),
    )
    words = [str(word) for word, applies in rules if applies]
    if items and record.task.submission in ENDED_WITHOUT_VENDOR:
        words.append(str(TaskWarning(f"named_while_{record.task.submission}")))
    if record.task.status is TaskStatus.PART_FAILED:
        words += [f"{TaskWarning.ARTIFACT_FAILED}:{name}" for name in _failed_artifacts(view for _, view in views)]
    return words + [
        f"{TaskWarning.UNKNOWN_PARAM}:{name}" for name in misspelled_in(record.task.kind, record.input.params)
    ]


def _failed_artifacts(views: Iterable[ItemView]) -> list[str]:
    """The artifacts that failed of any item, and the aligned lyrics as ``lyrics_sections``; each once."""
    lacking = (name for view in views for name, status in view.progress.lacking if status is ArtifactStatus.FAILED)
    return list(dict.fromkeys(lacking))


def _is_settled_after_expiry(task: Task) -> bool:
    """Whether the final word came after the task had expired. One that had ended by then has ``expired_at`` too, if
    something of it was still missing; it ended before that."""
    if task.expired_at is None or task.finished_at is None or task.status is TaskStatus.EXPIRED:
        return False
    return task.finished_at >= task.expired_at


def _has_unknown_status(state: ItemState) -> bool:
    return any(text not in (ITEM_ORDER if name == "status" else SUB_ORDER) for name, text in state.statuses.items())


def _has_odd_value(state: ItemState) -> bool:
    """Whether some field has odd values and no other."""
    odd = {name_of(key) for key in (*state.values, *state.large) if is_odd(key)}
    return any(not (name in state.statuses or name in state.urls or state.has(name)) for name in odd)


def _has_left_out(state: ItemState) -> bool:
    return state.left_out or any(is_left_out(value) for _, value in state.values.values())


def misspelled_in(kind_name: str, params: Iterable[str]) -> list[str]:
    """Find params that are probably misspelled: no kind has them, and they differ from one that this kind has by a
    letter or two. They are passed on, and cost a song that is not as it was meant."""
    kind = KINDS.get(kind_name)
    if kind is None:
        return []
    unknown = (name for name in params if name not in _KNOWN_PARAMS)
    return [
        name
        for name in islice(unknown, MOST_PARAMS_LOOKED_AT)
        if any(_is_misspelling(name, documented) for documented in kind.params.model_fields)
    ]


def _is_misspelling(name: str, documented: str) -> bool:
    allowed = 1 if len(documented) <= SHORT_CHARS else 2
    if len(name) > MOST_PARAM_CHARS or abs(len(name) - len(documented)) > allowed:
        return False
    return _distance(name.lower(), documented) <= allowed


def _distance(one: str, other: str) -> int:
    """The edit distance of two names: letters to be added, left out, replaced, or exchanged with their neighbour."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        above, row, older = row, [at], before
        before = above
        for column, target in enumerate(other, 1):
            steps = min(above[column] + 1, row[-1] + 1, above[column - 1] + (letter != target))
            if at > 1 and column > 1 and letter == other[column - 2] and one[at - 2] == target:
                steps = min(steps, older[column - 2] + 1)
            row.append(steps)
    return row[-1]
