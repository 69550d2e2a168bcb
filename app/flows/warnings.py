"""What a client is to be warned of though nothing has failed: one list of words for each task, derived anew whenever
the task is shown, and stored nowhere."""

from collections.abc import Sequence
from typing import Final

from app.domain.status import ITEM_ORDER, SUB_ORDER
from app.domain.task import Item
from app.storage.tasks import Record

UNKNOWN_STATUS: Final = "unknown_status"
"""The vendor said a status that nobody knows. It counts as running, and is shown in ``vendor``."""


def warnings_of(record: Record, own: Sequence[Item]) -> list[str]:
    """The words for a task with its items, each once. A new word is a rule here and a row in ``docs/integrate.md``."""
    return [word for word, holds in ((UNKNOWN_STATUS, _says_unknown_status(own)),) if holds]


def _says_unknown_status(own: Sequence[Item]) -> bool:
    return any(
        text not in (ITEM_ORDER if name == "status" else SUB_ORDER)
        for item in own
        for name, text in item.state.statuses.items()
    )
