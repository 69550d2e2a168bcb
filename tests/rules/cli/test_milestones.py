"""Which milestones are read off the states of a stream."""

from datetime import UTC, datetime
from typing import Any

import pytest

from app.cli.milestones import MOST_TASKS, Milestones
from app.rules.status import TASK_FINAL

BEGAN = datetime(2026, 1, 31, 12, tzinfo=UTC)
EARLIER = "2020-01-01T00:00:00Z"
LATER = "2099-01-01T00:00:00Z"


def task(version: int, status: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "0192", "version": version, "status": status, "items": [], "updated_at": LATER,
        "submitted_at": None, "playable_at": None, "finished_at": None,
    } | more  # fmt: skip


def with_file(status: str) -> list[dict[str, Any]]:
    return [{"item_id": "t2m_1", "artifacts": {"audio": {"status": status}}}]


def types(milestones: Milestones, *states: dict[str, Any]) -> list[list[str]]:
    return [[one.type for one in milestones.passed(state)] for state in states]


def test_each_milestone_is_told_once_and_several_at_once_in_their_order() -> None:
    submitted, playable = {"submitted_at": LATER}, {"submitted_at": LATER, "playable_at": LATER}
    ended = playable | {"finished_at": LATER}
    assert types(
        Milestones(BEGAN),
        task(1, "queued"),
        task(2, "running", **submitted),
        task(2, "running", **submitted),
        task(3, "running", **submitted),
        task(5, "main_succeeded", **playable),
        task(7, "succeeded", **ended),
    ) == [[], ["task.running"], [], [], ["task.playable"], ["task.succeeded"]]
    assert types(Milestones(BEGAN), task(7, "succeeded", **ended)) == [
        ["task.running", "task.playable", "task.succeeded"]
    ]


def test_what_was_passed_before_is_old_news() -> None:
    before = {"submitted_at": EARLIER, "playable_at": EARLIER}
    milestones = Milestones(BEGAN)
    assert types(milestones, task(4, "main_succeeded", **before)) == [[]]
    assert types(milestones, task(5, "succeeded", **before, finished_at=LATER)) == [["task.succeeded"]]
    ended = before | {"finished_at": EARLIER}
    assert types(Milestones(BEGAN), task(5, "succeeded", **ended, items=with_file("pending"))) == [[]]


def test_an_end_is_told_again_where_a_file_came_later_and_not_for_a_new_link() -> None:
    ended = {"submitted_at": LATER, "finished_at": LATER}
    assert types(
        Milestones(BEGAN),
        task(1, "expired", **ended, items=with_file("pending")),
        task(2, "succeeded", **ended, items=with_file("pending")),
        task(3, "succeeded", **ended, items=with_file("ready")),
        task(4, "succeeded", **ended, items=with_file("ready")),
    ) == [["task.running", "task.expired"], ["task.succeeded"], ["task.succeeded"], []]


def test_a_version_that_is_no_newer_is_nothing_new() -> None:
    assert types(Milestones(BEGAN), task(3, "queued"), task(2, "canceled", finished_at=LATER)) == [[], []]


@pytest.mark.parametrize("status", sorted(TASK_FINAL))
def test_every_end_is_a_milestone(status: str) -> None:
    [told] = Milestones(BEGAN).passed(task(2, status, finished_at=LATER))
    assert told == (f"task.{status}", LATER)


def test_so_many_tasks_are_remembered() -> None:
    milestones = Milestones(BEGAN)
    for number in range(MOST_TASKS + 1):
        milestones.passed(task(1, "canceled", finished_at=LATER, id=str(number)))
    again = [len(milestones.passed(task(1, "canceled", finished_at=LATER, id=str(one)))) for one in (MOST_TASKS, 0)]
    assert again == [0, 1]
