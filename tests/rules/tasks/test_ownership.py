"""Whose an item is: the answer to a submission outranks a bound token, and that an unbound one."""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules.observation import NamedBy, Observation
from tests.rules.tasks.scene import Story, names, new_task, running_story, says, shows, stranger_says

MP3 = "https://cdn.example/a.mp3"


def test_an_item_that_nobody_submitted_becomes_a_task_of_the_client_external() -> None:
    story = Story()
    story.told_by_stranger(10, stranger_says("x1", status="running"))
    owner = story.owner("x1")
    assert (owner.client_name, owner.kind, owner.status) == ("external", "song.external", "running")
    assert (owner.external, owner.new, owner.version) == (True, True, 1)
    assert owner.dispatch_due_at is None
    assert owner.slot_until is None
    assert owner.deadline_at is not None
    story.told_by_stranger(20, stranger_says("x1", status="succeeded"))
    assert story.owner("x1") is owner
    assert owner.status == "succeeded"


def test_each_item_of_strangers_is_a_task_of_its_own() -> None:
    story = Story()
    story.told_by_stranger(10, stranger_says("x1"), stranger_says("x2"))
    assert story.owner("x1") is not story.owner("x2")


def test_an_item_first_named_by_a_stranger_ends_up_with_its_rightful_task() -> None:
    story = Story()
    story.claimed(0)
    story.told_by_stranger(10, stranger_says(status="main_succeeded", audio_url=MP3))
    external = story.owner()
    assert external.external
    outcome = story.called_back(20, says(status="succeeded"))
    assert outcome.observation_results == ("applied",)
    assert story.owner() is story.task
    assert story.item().named_by is NamedBy.BOUND_TOKEN
    assert external.id in story.loaded.removed
    assert story.view().artifacts["audio"].url == MP3
    story.accepted(30)
    assert story.owner() is story.task
    assert story.item().named_by is NamedBy.SUBMIT_ANSWER
    assert story.task.status == "succeeded"


def test_the_answer_to_a_submission_takes_the_item_from_another_tasks_token() -> None:
    thief, rightful = new_task(), new_task()
    story = Story(thief, rightful)
    story.claimed(0, rightful)
    story.called_back(5, says(status="main_succeeded", audio_url=MP3), task=thief)
    assert thief.status == "main_succeeded"
    story.accepted(9, task=rightful)
    assert story.owner() is rightful
    assert rightful.status == "main_succeeded"
    assert story.view().artifacts["audio"].url == MP3
    assert thief.status == "queued"
    assert thief.dispatch_due_at is not None
    assert thief.id not in story.loaded.removed


def test_a_task_that_lost_its_item_to_the_rightful_one_is_as_if_it_had_never_been_named() -> None:
    thief, rightful = new_task(), new_task()
    story = Story(thief, rightful)
    story.claimed(0, rightful)
    story.called_back(5, says(status="running"), task=thief)
    story.accepted(9, task=rightful)
    assert (thief.status, thief.submitted_at, thief.deadline_at) == ("queued", None, None)


def test_both_tasks_of_a_taken_item_say_so_in_their_timelines() -> None:
    thief, rightful = new_task(), new_task()
    story = Story(thief, rightful)
    story.called_back(5, says(), task=thief)
    story.claimed(6, rightful)
    story.accepted(9, task=rightful)
    lost, won = (story.loaded.entries[task.id][-1].detail["items"] for task in (thief, rightful))
    assert {"item_id": "i1", "taken_over_by": str(rightful.id)} in lost
    assert {"item_id": "i1", "taken_over_from": str(thief.id)} in won


@pytest.mark.parametrize(
    "seen", [says(status="failed", title="Stolen"), stranger_says(status="failed", title="Stolen")]
)
def test_an_item_that_was_named_by_its_submission_is_not_touched_by_others(seen: Observation) -> None:
    story = running_story()
    other = new_task()
    story.loaded.add_task(other)
    before, version = story.item().state.copy(), story.task.version
    outcome = (
        story.told_by_stranger(9, seen)
        if seen.named_by is NamedBy.UNBOUND_TOKEN
        else story.called_back(9, seen, task=other)
    )
    assert outcome.observation_results == ("mismatched",)
    assert (story.owner(), story.item().state, story.task.version) == (story.task, before, version)
    assert other.status == "queued"
    assert story.task.id not in outcome.task_ids


@pytest.mark.parametrize("rank", [NamedBy.BOUND_TOKEN, NamedBy.SUBMIT_ANSWER])
def test_with_equal_rank_the_first_stays_and_the_second_is_mismatched(rank: NamedBy) -> None:
    first, second = new_task(), new_task()
    story = Story(first, second)
    seen = says() if rank is NamedBy.BOUND_TOKEN else names()
    assert story.happens(1, seen, task=first).observation_results == ("applied",)
    assert story.happens(2, seen, task=second).observation_results == ("mismatched",)
    assert story.owner() is first


def test_a_callback_weakens_nothing_of_what_the_answer_to_the_submission_named() -> None:
    story = running_story()
    other = new_task()
    story.loaded.add_task(other)
    story.called_back(9, says(status="running"))
    assert story.item().named_by is NamedBy.SUBMIT_ANSWER
    assert story.happens(10, names(), task=other).observation_results == ("mismatched",)
    assert story.owner() is story.task


def test_a_bound_token_that_names_an_item_of_another_task_applies_only_what_is_its_own() -> None:
    story = running_story()
    other = new_task()
    story.loaded.add_task(other)
    outcome = story.called_back(9, says("i1", status="failed"), says("i9", status="running"), task=other)
    assert outcome.observation_results == ("mismatched", "applied")
    assert story.owner("i9") is other
    assert story.task.status == "running"


def test_a_task_takes_a_hundred_items_and_what_a_flood_names_beyond_is_mismatched() -> None:
    story = Story()
    flood = [says(f"i{n}", status="running") for n in range(102)]
    outcome = story.called_back(1, *flood)
    assert outcome.observation_results == ("applied",) * 100 + ("mismatched",) * 2
    assert len(story.loaded.items_of(story.task)) == 100
    assert ("song", "i100") not in story.loaded.items
    # What it has is heard of further on, and another task takes what this one could not.
    assert story.called_back(2, says("i99", status="succeeded"), says("i101")).observation_results == (
        "applied",
        "mismatched",
    )
    other = new_task()
    story.loaded.add_task(other)
    assert story.called_back(3, says("i101"), task=other).observation_results == ("applied",)
    assert story.owner("i101") is other


def test_an_external_task_keeps_what_nobody_else_claims() -> None:
    story = Story()
    story.told_by_stranger(1, stranger_says("i1", status="running"))
    external = story.owner("i1")
    # A second item of the same external task, as one that was moved there by hand.
    story.loaded.new_item("song", "i2", external, NamedBy.UNBOUND_TOKEN)
    story.called_back(9, says("i1"))
    assert external.id not in story.loaded.removed
    assert story.owner("i2") is external


def test_the_same_id_in_two_families_is_two_items() -> None:
    song, stems = new_task(), new_task("stems.create")
    story = Story(song, stems)
    story.called_back(1, says("7", status="running"), task=song)
    assert story.called_back(2, says("7", family="stems", status="succeeded"), task=stems).observation_results == (
        "applied",
    )
    assert (song.status, stems.status) == ("running", "succeeded")


@given(
    st.permutations([NamedBy.UNBOUND_TOKEN, NamedBy.BOUND_TOKEN, NamedBy.SUBMIT_ANSWER]),
    st.lists(st.sampled_from(list(NamedBy)[1:]), max_size=4),
)
def test_whatever_the_order_the_strongest_name_ends_up_with_the_item(
    ranks: list[NamedBy], repeats: list[NamedBy]
) -> None:
    tasks = {NamedBy.BOUND_TOKEN: new_task(), NamedBy.SUBMIT_ANSWER: new_task()}
    story = Story(*tasks.values())
    for second, rank in enumerate([*ranks, *repeats]):
        seen = {
            NamedBy.UNBOUND_TOKEN: stranger_says(status="running"),
            NamedBy.BOUND_TOKEN: says(status="running"),
            NamedBy.SUBMIT_ANSWER: names(),
        }[rank]
        story.happens(second, seen, task=tasks.get(rank))
    assert story.owner() is tasks[NamedBy.SUBMIT_ANSWER]
    assert story.item().named_by is NamedBy.SUBMIT_ANSWER
    live = [task for task in story.loaded.tasks.values() if task.external and task.id not in story.loaded.removed]
    assert live == []
    assert tasks[NamedBy.BOUND_TOKEN].status == "queued"


def test_every_order_of_two_strengths_ends_with_the_stronger() -> None:
    makers: dict[int, Callable[..., Observation]] = {1: stranger_says, 2: says, 3: names}
    for weak, strong in itertools.combinations(makers, 2):
        for first, second in ((weak, strong), (strong, weak)):
            owners = {rank: new_task() for rank in (2, 3)}
            story = Story(*owners.values())
            for rank in (first, second):
                story.happens(rank, makers[rank](), task=owners.get(rank))
            assert story.owner() is owners[strong]


def test_the_deadline_of_an_item_that_was_never_its_own_does_not_expire_a_task() -> None:
    thief, rightful = new_task(), new_task()
    story = Story(thief, rightful)
    story.called_back(5, says(status="running"), task=thief)
    story.claimed(6, rightful)
    story.accepted(9, task=rightful)
    story.claimed(3600, thief)
    story.outcome_unknown(3630, thief)
    story.called_back(3650, says("i2", status="running"), task=thief)
    story.queried(3660, shows("i2", status="running"))
    assert thief.status == "running"
