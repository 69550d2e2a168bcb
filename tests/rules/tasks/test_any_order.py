"""Through the one door for changes: any order, repetition or interleaving ends in the same task (G2, G6)."""

from collections import deque
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules.derive_task import derive
from app.rules.observation import NamedBy, Observation, Source
from app.rules.status import item_rank
from app.rules.submission import WasAccepted, WasUnknown
from app.rules.task import Submission
from tests.rules.tasks.scene import Story, after, fresh_id, names, new_task, says, shows
from tests.rules.tasks.strategies import DEEP, observations, shuffled_with_repeats

ITEM_IDS = ("i1", "i2", "i3")
SUBMIT_ID = fresh_id()
ACCEPTED = "the answer to the submission"
heard = st.lists(observations(ITEM_IDS), max_size=8)


def tell(order: Iterable[Any], answer: str = "accepted") -> Story:
    """Everything at one instant, in the order given. A question can only be about an item that is known, so the
    answer to one waits until it is."""
    task = new_task(claimed_at=after(0), submission=Submission.SENDING, submit_id=SUBMIT_ID)
    story = Story(task)
    waiting = deque(order)
    rounds_without_news = 0
    while waiting and rounds_without_news <= len(waiting):
        one = waiting.popleft()
        rounds_without_news += 1
        if one is ACCEPTED:
            if answer == "accepted":
                story.happens(0, names("i1"), names("i2"), event=WasAccepted(), task=task)
            else:
                story.happens(0, event=WasUnknown(SUBMIT_ID), task=task)
        elif one.source is Source.QUERY and one.key not in story.loaded.items:
            waiting.append(one)
            continue
        else:
            story.happens(0, one, task=task if one.named_by is NamedBy.BOUND_TOKEN else None)
        rounds_without_news = 0
    return story


def ending(story: Story) -> Any:
    """What must not depend on the order: states, statuses, owners, the submission, and large values."""
    loaded = story.loaded
    items = {
        key: (item.state, item.status, item.named_by, item.task_id == story.task.id)
        for key, item in loaded.items.items()
    }
    named = {key: {digest for _, digest in item.state.large.values()} for key, item in loaded.items.items()}
    large = {key: value for key, value in loaded.large.items() if key[2] in named[key[:2]]}
    return items, large, story.task.status, story.task.submission, story.task.submitted_at, story.task.deadline_at


def ranks(story: Story) -> dict[Any, int]:
    return {key: item_rank(item.state.statuses.get("status", "waiting")) for key, item in story.loaded.items.items()}


def with_answer(observed: list[Observation]) -> list[Any]:
    return [ACCEPTED, *observed]


@given(shuffled_with_repeats(heard.map(with_answer)))
def test_any_order_of_answer_callbacks_and_queries_ends_in_one_task(
    orders: tuple[list[str | Observation], list[str | Observation]],
) -> None:
    first, other = orders
    assert ending(tell(first)) == ending(tell(other))


@given(shuffled_with_repeats(heard.map(with_answer)))
def test_any_order_ends_in_one_task_also_when_the_outcome_is_unknown(
    orders: tuple[list[str | Observation], list[str | Observation]],
) -> None:
    first, other = orders
    assert ending(tell(first, "unknown")) == ending(tell(other, "unknown"))


@pytest.mark.slow
@DEEP
@given(shuffled_with_repeats(st.lists(observations(ITEM_IDS), max_size=14).map(with_answer)))
def test_any_order_ends_in_one_task_deeper(orders: tuple[list[str | Observation], list[Observation | str]]) -> None:
    first, other = orders
    assert ending(tell(first)) == ending(tell(other))


@given(heard)
def test_the_version_grows_with_what_a_client_can_see_and_stays_for_what_it_knows(observed: list[Observation]) -> None:
    story = tell([ACCEPTED])
    for one in observed:
        if one.key in story.loaded.items:
            shown = story.loaded.visible[story.task.id]
            version = story.task.version
            story.happens(0, one, task=story.task)
            assert (story.task.version > version) == (story.loaded.visible[story.task.id] != shown)
            if one.source is Source.CALLBACK:
                version = story.task.version
                story.happens(0, one, task=story.task)
                assert story.task.version == version


@given(heard)
def test_no_item_moves_back_at_any_step(observed: list[Observation]) -> None:
    story = tell([ACCEPTED])
    for one in observed:
        before = ranks(story)
        story.happens(0, one, task=story.task)
        assert all(ranks(story)[key] >= rank for key, rank in before.items())


@given(heard)
def test_deriving_again_changes_nothing(observed: list[Observation]) -> None:
    story = tell(with_answer(observed))
    before = ending(story)
    shown, expired = derive(story.loaded, story.task, after(0), story.rules)
    assert (shown, expired) == (story.loaded.visible[story.task.id], False)
    assert ending(story) == before


def test_one_change_with_many_observations_is_like_many_changes_with_one() -> None:
    seen = [
        says(status="main_succeeded", audio_url="https://cdn.example/a"),
        says("i2", status="failed"),
        says(status="succeeded"),
    ]
    together = tell([ACCEPTED])
    together.happens(0, *seen, task=together.task)
    assert ending(together) == ending(tell([ACCEPTED, *seen]))


def test_a_repeat_of_an_old_callback_changes_nothing() -> None:
    story = tell([ACCEPTED])
    old = says(seconds=10, title="First Title", status="main_succeeded", event="audio_complete")
    story.happens(10, old, task=story.task)
    story.happens(60, says(seconds=60, title="Second Title", status="succeeded"), task=story.task)
    before, version = ending(story), story.task.version
    story.happens(90, old, task=story.task)
    assert ending(story) == before
    assert story.task.version == version


def test_a_question_about_an_item_that_is_not_ours_binds_nothing() -> None:
    story = tell([ACCEPTED])
    outcome = story.queried(60, shows("stray", status="succeeded"))
    assert outcome.observation_results == ("unknown_item",)
    assert ("song", "stray") not in story.loaded.items
