"""Statuses and their orders: an item's status is the maximum of what was observed.

Each order is total over all texts: a text that is not listed counts as ``running`` and, between texts
of one rank, the greater text wins. So the maximum exists for any set of observations, in any order.
"""

from enum import StrEnum
from typing import Final


class ItemStatus(StrEnum):
    """Status of one item as the gateway shows it."""

    WAITING = "waiting"
    RUNNING = "running"
    MAIN_SUCCEEDED = "main_succeeded"
    FAILED = "failed"
    PART_FAILED = "part_failed"
    SUCCEEDED = "succeeded"


class SubStatus(StrEnum):
    """Status of one extra of an item (lossless audio, aligned lyrics)."""

    WAITING = "waiting"
    RUNNING = "running"
    SUB_FAILED = "sub_failed"
    SUB_SUCCEEDED = "sub_succeeded"


class TaskStatus(StrEnum):
    """Status of a task, derived from its submission and its items; stored only so that lists can filter by it."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    UNCONFIRMED = "unconfirmed"
    RUNNING = "running"
    MAIN_SUCCEEDED = "main_succeeded"
    SUCCEEDED = "succeeded"
    PART_FAILED = "part_failed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELED = "canceled"


ITEM_ORDER: Final = {status.value: rank for rank, status in enumerate(ItemStatus, start=1)}
SUB_ORDER: Final = {status.value: rank for rank, status in enumerate(SubStatus, start=1)}
UNKNOWN_RANK: Final = ITEM_ORDER["running"]

_ITEM_STATUSES: Final = {status.value: status for status in ItemStatus}

ITEM_FINAL: Final = frozenset({ItemStatus.FAILED, ItemStatus.PART_FAILED, ItemStatus.SUCCEEDED})
ITEM_USABLE: Final = frozenset({ItemStatus.MAIN_SUCCEEDED, ItemStatus.PART_FAILED, ItemStatus.SUCCEEDED})
TASK_FINAL: Final = frozenset(
    {
        TaskStatus.SUCCEEDED,
        TaskStatus.PART_FAILED,
        TaskStatus.FAILED,
        TaskStatus.EXPIRED,
        TaskStatus.CANCELED,
    }
)
TASK_USABLE: Final = frozenset({TaskStatus.MAIN_SUCCEEDED, TaskStatus.PART_FAILED, TaskStatus.SUCCEEDED})


def item_rank(text: str) -> int:
    """Rank of an item's status; a status the vendor has not documented ranks as ``running``."""
    return ITEM_ORDER.get(text, UNKNOWN_RANK)


def sub_rank(text: str) -> int:
    """Rank of a sub-status; an undocumented one ranks as ``running``."""
    return SUB_ORDER.get(text, UNKNOWN_RANK)


def later_status(field: str, ours: str | None, theirs: str) -> str:
    """The greater of two statuses of one field, by (rank, text)."""
    if ours is None or ours == theirs:
        return theirs
    rank = item_rank if field == "status" else sub_rank
    return max(ours, theirs, key=lambda text: (rank(text), text))


def item_status(text: str | None) -> ItemStatus:
    """What the gateway shows for the vendor's status: nothing said is ``waiting``, unknown is ``running``."""
    if text is None:
        return ItemStatus.WAITING
    return _ITEM_STATUSES.get(text, ItemStatus.RUNNING)
