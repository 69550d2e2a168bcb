"""The join of observations is commutative, associative and idempotent, whatever the vendor says (G2)."""

import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.rules.join import MOST_OTHER_FIELDS, MOST_URLS, ItemState, canonical, digest, join
from app.rules.observation import Observation
from app.rules.status import item_rank, sub_rank
from tests.rules.tasks.scene import joined, says
from tests.rules.tasks.strategies import DEEP, observations, shuffled_with_repeats, values
from tests.support.not_none import present

sets = st.lists(observations(), max_size=8)


def stored(observed: list[Observation]) -> tuple[ItemState, dict[str, Any]]:
    """The state, and the large values as they were written apart."""
    state, large = ItemState(), {}
    for seen in observed:
        out = join(state, seen)
        state = out.state
        large.update(out.large)
    return state, {name: canonical(large[name]) for name in state.large}


@given(shuffled_with_repeats(sets))
def test_any_order_with_any_repeats_gives_one_state(orders: tuple[list[Observation], list[Observation]]) -> None:
    first, other = orders
    assert stored(first) == stored(other)


@pytest.mark.slow
@DEEP
@given(shuffled_with_repeats(st.lists(observations(), max_size=14)))
def test_any_order_with_any_repeats_gives_one_state_deeper(
    orders: tuple[list[Observation], list[Observation]],
) -> None:
    first, other = orders
    assert stored(first) == stored(other)


@given(sets, observations(), observations())
def test_two_observations_commute_on_any_state(before: list[Observation], a: Observation, b: Observation) -> None:
    start = joined(*before)
    assert joined(a, b, start=start) == joined(b, a, start=start)


@given(sets, observations())
@example([says(title="a")], says(title="a"))
def test_a_repeat_changes_nothing_and_says_so(before: list[Observation], seen: Observation) -> None:
    once = joined(*before, seen)
    again = join(once, seen)
    assert again.state == once
    assert (again.changed, again.large, again.first_event) == ({}, {}, False)


@given(sets, observations())
def test_join_leaves_the_state_before_as_it_was(before: list[Observation], seen: Observation) -> None:
    state = joined(*before)
    copy = state.copy()
    join(state, seen)
    assert state == copy


@given(sets, observations())
def test_no_status_moves_back_and_nothing_known_is_erased(before: list[Observation], seen: Observation) -> None:
    ours = joined(*before)
    theirs = join(ours, seen).state
    for name, text in ours.statuses.items():
        rank = item_rank if name == "status" else sub_rank
        assert rank(theirs.statuses[name]) >= rank(text)
    for name, known in ours.urls.items():
        assert known.keys() <= theirs.urls[name].keys()
        assert theirs.latest_url(name) is not None
    assert all(theirs.has(name) for name in (*ours.values, *ours.large))
    assert ours.events.keys() <= theirs.events.keys()
    assert (theirs.sighted_us or 0) >= (ours.sighted_us or 0)
    assert (theirs.unknown_us or 0) >= (ours.unknown_us or 0)


@given(sets)
def test_a_field_is_held_small_or_large_and_large_ones_match_what_was_written(observed: list[Observation]) -> None:
    state, large = stored(observed)
    assert not state.values.keys() & state.large.keys()
    assert {name: digest(text) for name, text in large.items()} == {name: one[1] for name, one in state.large.items()}


@given(sets)
def test_what_changed_is_what_differs(observed: list[Observation]) -> None:
    state = ItemState()
    for seen in observed:
        out = join(state, seen)
        for name, text in out.state.statuses.items():
            assert (name in out.changed) == (state.statuses.get(name) != text)
        for name in out.state.urls:
            moved = state.latest_url(name) != out.state.latest_url(name)
            assert (name in out.changed) == moved
        state = out.state


@given(
    shuffled_with_repeats(
        st.lists(
            st.builds(
                lambda second, fields: says(seconds=second, **fields),
                st.integers(0, 9),
                st.dictionaries(st.sampled_from([f"news_{n:02}" for n in range(40)]), values, min_size=12, max_size=20),
            ),
            max_size=6,
        )
    )
)
def test_more_fields_than_are_kept_end_alike_in_any_order(orders: tuple[list[Observation], list[Observation]]) -> None:
    first, other = orders
    state, large = stored(first)
    assert (state, large) == stored(other)
    names = {name for seen in first for name in seen.reading.values}
    assert {*state.values, *state.large} == set(sorted(names)[:MOST_OTHER_FIELDS])
    assert state.left_out == (len(names) > MOST_OTHER_FIELDS)
    for seen in other:
        assert join(state, seen).state == state


@given(shuffled_with_repeats(st.lists(st.integers(0, 12), max_size=9, unique=True)))
def test_more_urls_than_are_kept_end_alike_in_any_order(orders: tuple[list[int], list[int]]) -> None:
    """Each at a time of its own, as a URL has one time at which it was first seen."""
    first, other = ([says(seconds=n, audio_url=f"https://cdn.example/{n}") for n in order] for order in orders)
    state = joined(*first)
    assert state == joined(*other)
    for seen in other:
        assert join(state, seen).state == state


def test_a_known_field_is_not_pushed_out_by_a_flood_of_others() -> None:
    fields: dict[str, Any] = {f"aaa_{n}": n for n in range(400)}
    flood = says(**fields)
    unknown: dict[str, Any] = {"?duration": "3:07"}
    told = says(title="Harbour Lights", lyrics="la " * 400, **unknown)
    for state in (joined(flood, told), joined(told, flood)):
        assert state.value("title") == "Harbour Lights"
        assert state.value("?duration") == "3:07"
        assert state.has("lyrics")
        assert len(state.values) + len(state.large) == MOST_OTHER_FIELDS + 3


def test_a_flood_of_urls_keeps_the_state_bounded() -> None:
    flood = [says(seconds=n, audio_url=f"https://cdn.example/{n}") for n in range(200)]
    random.Random(1).shuffle(flood)
    state = joined(*flood)
    assert len(state.urls["audio_url"]) == MOST_URLS
    assert present(state.latest_url("audio_url"))[0] == "https://cdn.example/199"


def test_a_flood_of_distinct_urls_ends_alike_in_any_order() -> None:
    flood = [says(seconds=n, audio_url=f"https://cdn.example/{n}") for n in range(100)]
    assert joined(*flood) == joined(*reversed(flood))


def test_floods_of_fields_and_events_keep_the_state_bounded() -> None:
    fields: list[dict[str, Any]] = [{"seconds": n, "event": f"e{n}", f"field_{n}": n} for n in range(400)]
    state = joined(*[says(**one) for one in fields])
    assert len(state.values) == MOST_OTHER_FIELDS
    assert len(state.events) == 16
