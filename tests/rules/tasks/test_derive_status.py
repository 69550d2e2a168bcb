"""The status of a task, from its submission, its expiry and its items: the decision table, row by row."""

import itertools

import pytest

from app.rules.observation import Observation
from app.rules.status import ITEM_FINAL, TASK_FINAL, TASK_USABLE, ItemStatus
from app.rules.task import Submission, derive_status
from tests.rules.tasks.scene import Story, denies, new_task, running_story, says, shows

W, R, M, F, P, S = ItemStatus  # in their order
STATES = list(Submission)


@pytest.mark.parametrize(
    ("submission", "status"),
    [
        (Submission.ACCEPTED, "running"),
        (Submission.EXTERNAL, "running"),
        (Submission.CANCELED, "canceled"),
        (Submission.REFUSED, "failed"),
        (Submission.LAPSED, "failed"),
        (Submission.UNKNOWN, "unconfirmed"),
        (Submission.SENDING, "submitting"),
        (Submission.QUEUED, "queued"),
    ],
)
def test_without_items_the_submission_decides(submission: Submission, status: str) -> None:
    assert derive_status(submission, False, []) == status
    assert derive_status(submission, True, []) == "expired"


FINAL_WORDS = [
    ([S], "succeeded"),
    ([F], "failed"),
    ([P], "part_failed"),
    ([S, S], "succeeded"),
    ([F, F], "failed"),
    ([P, P], "part_failed"),
    ([S, F], "part_failed"),
    ([S, P], "part_failed"),
    ([P, F], "part_failed"),
    ([S, P, F], "part_failed"),
]


@pytest.mark.parametrize(("items", "status"), FINAL_WORDS)
def test_all_items_final_is_the_final_word_whatever_we_think_we_sent(items: list[ItemStatus], status: str) -> None:
    sent = [one for one in STATES if one is not Submission.SENDING]
    for submission, order in itertools.product(sent, itertools.permutations(items)):
        assert derive_status(submission, False, order) == status, (submission, order)
        assert derive_status(submission, True, order) == status, (submission, order)


@pytest.mark.parametrize(
    ("items", "status"),
    [
        ([W], "running"),
        ([R], "running"),
        ([M], "main_succeeded"),
        ([M, M], "main_succeeded"),
        ([M, S], "main_succeeded"),
        ([M, P], "main_succeeded"),
        ([M, F], "main_succeeded"),
        ([M, R], "running"),
        ([S, R], "running"),
        ([F, R], "running"),
        ([F, W], "running"),
        ([S, W, M], "running"),
    ],
)
def test_open_items_decide_whatever_we_think_we_sent(items: list[ItemStatus], status: str) -> None:
    for submission, order in itertools.product(STATES, itertools.permutations(items)):
        assert derive_status(submission, False, order) == status, (submission, order)
        assert derive_status(submission, True, order) == "expired", (submission, order)


@pytest.mark.parametrize(
    ("items", "status"),
    [
        ([S], "main_succeeded"),
        ([P], "main_succeeded"),
        ([S, F], "main_succeeded"),
        ([F], "running"),
        ([F, F], "running"),
    ],
)
def test_a_task_is_not_final_while_the_answer_to_its_submission_is_outstanding(
    items: list[ItemStatus], status: str
) -> None:
    assert derive_status(Submission.SENDING, False, items) == status
    assert derive_status(Submission.SENDING, False, items) not in TASK_FINAL


def test_all_failed_while_sending_is_not_playable() -> None:
    assert derive_status(Submission.SENDING, False, [F, F]) not in TASK_USABLE


@pytest.mark.parametrize("submission", STATES)
def test_final_and_usable_mean_what_they_say(submission: Submission) -> None:
    for items in itertools.combinations_with_replacement(ItemStatus, 2):
        status = derive_status(submission, False, items)
        are_final = all(one in ITEM_FINAL for one in items)
        assert (status in TASK_FINAL) == (are_final and submission is not Submission.SENDING), items
        assert status not in TASK_USABLE or set(items) & {M, P, S}, items


def test_items_that_finish_before_the_answer_wait_for_it_and_then_end_the_task() -> None:
    story = Story()
    story.claimed(0)
    story.called_back(5, says(status="succeeded"))
    assert story.task.status == "main_succeeded"
    assert story.task.finished_at is None
    story.accepted(6, ["i1", "i2"])
    assert story.task.status == "running"
    story.called_back(9, says("i2", status="succeeded"))
    assert story.task.status == "succeeded"


def test_an_unknown_outcome_lets_what_is_known_count() -> None:
    story = Story()
    story.claimed(0)
    story.called_back(5, says(status="succeeded"))
    story.outcome_unknown(30)
    assert story.task.status == "succeeded"


def test_an_item_that_turns_up_late_reopens_the_task_with_a_higher_version() -> None:
    story = Story()
    story.claimed(0)
    story.outcome_unknown(30)
    story.called_back(60, says(status="succeeded"))
    version = story.task.version
    story.called_back(70, says("i2", status="running"))
    assert story.task.status == "running"
    assert story.task.finished_at is None
    assert story.task.version > version


@pytest.mark.parametrize("how", ["queued", "canceled", "refused"])
def test_a_callback_that_names_a_task_which_was_never_sent_reopens_it_and_flags_it(how: str) -> None:
    story = Story()
    if how == "canceled":
        story.canceled(1)
    elif how == "refused":
        story.claimed(1)
        story.refused(2)
    before = story.task.submission
    story.called_back(50, says(status="running"))
    assert (story.task.status, story.task.submission) == ("running", before)
    assert story.task.dispatch_due_at is None
    entry = story.loaded.entries[story.task.id][-1]
    assert {"item_id": "i1", "flag": f"named_while_{how}"} in entry.detail["items"]
    story.called_back(60, says(status="succeeded"))
    assert story.task.status == "succeeded"


def test_an_item_unknown_to_the_vendor_fails_after_its_grace_and_not_before() -> None:
    story = running_story()
    story.queried(600.999999, denies())
    assert story.task.status == "running"
    story.queried(601, denies())
    assert story.task.status == "failed"
    assert story.view().progress.unknown_to_vendor


def test_the_grace_counts_from_the_last_sighting() -> None:
    story = running_story()
    story.queried(500, shows(status="running"))
    story.queried(1099, denies())
    assert story.task.status == "running"
    story.queried(1100, denies())
    assert story.task.status == "failed"


@pytest.mark.parametrize("again", [says(status="running"), shows(status="running"), shows()])
def test_any_later_sighting_undoes_unknown_to_the_vendor(again: Observation) -> None:
    story = running_story()
    story.queried(700, denies())
    assert story.task.status == "failed"
    if again.named_by:
        story.called_back(710, again)
    else:
        story.queried(710, again)
    assert story.task.status == "running"
    assert not story.view().progress.unknown_to_vendor
    assert story.item().query_due_at is not None


def test_an_item_that_is_final_is_never_unknown_to_the_vendor() -> None:
    story = running_story()
    story.called_back(60, says(status="succeeded"))
    story.queried(5000, denies())
    assert story.task.status == "succeeded"
    assert story.view().progress.status == "succeeded"


def test_a_task_that_never_saw_its_item_still_counts_the_grace_from_its_submission() -> None:
    story = Story(new_task())
    story.claimed(0)
    story.accepted(400)
    story.queried(900, denies())
    assert story.task.status == "running"
    story.queried(1000, denies())
    assert story.task.status == "failed"
