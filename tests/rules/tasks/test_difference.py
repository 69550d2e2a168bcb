"""Holding a state against its record: a whole record makes no difference, whatever was said and in whatever order;
what is taken away from the state shows."""

from collections.abc import Collection
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.domain.difference import Sort, differences
from app.domain.item import ItemState, join
from app.domain.observation import Observation, Reading, Source
from tests.rules.tasks.scene import joined, says, shows, us
from tests.rules.tasks.strategies import observations


def lived(seen: list[Observation]) -> tuple[ItemState, ItemState, set[int], dict[str, Any]]:
    """What is stored after these, what the record makes of them, and what it only knows of as quiet queries."""
    stored, recorded, quiet = ItemState(), [], set()
    large: dict[str, Any] = {}
    for one in seen:
        if one.source is Source.QUERY and one.reading.event is not None:
            continue  # only a callback is an event
        step = join(stored, one)
        large |= {step.state.large[name][1]: value for name, value in step.large.items()}
        if one.source is Source.QUERY and not step.changed and not one.unknown:
            quiet.add(one.observed_us)
            one = type(one)(one.family, Reading(one.reading.item_id), one.source, one.observed_us)  # noqa: PLW2901
        recorded.append(one)
        stored = step.state
    return stored, joined(*recorded), quiet, large


@given(st.lists(observations(), max_size=12))
def test_a_whole_record_makes_no_difference(seen: list[Observation]) -> None:
    stored, rebuilt, quiet, large = lived(seen)
    assert differences("i1", stored, rebuilt, quiet, large) == []


@given(st.lists(observations(), min_size=1, max_size=12), st.data())
def test_what_is_taken_away_shows(seen: list[Observation], data: st.DataObject) -> None:
    stored, rebuilt, quiet, large = lived(seen)
    parts: dict[str, Collection[str]] = {
        "statuses": rebuilt.statuses,
        "urls": rebuilt.urls,
        "events": rebuilt.events,
        "values": rebuilt.values,
    }
    there = [(part, name) for part, held in parts.items() for name in held if name in getattr(stored, part)]
    if there:
        part, name = data.draw(st.sampled_from(there))
        damaged = stored.copy()
        del getattr(damaged, part)[name]
        found = differences("i1", damaged, rebuilt, quiet, large)
        assert found
        assert {one.sort for one in found} == {Sort.LACKS}


def test_a_query_that_only_confirmed_a_value_makes_no_difference() -> None:
    stored, rebuilt, quiet, large = lived([says(seconds=1, title="A"), shows(seconds=5, title="A")])
    assert stored.values["title"][0] == us(5)
    assert differences("i1", stored, rebuilt, quiet, large) == []
    [one] = differences("i1", stored, rebuilt, (), large)
    assert (one.field, one.sort) == ("title (time)", Sort.MORE)


def test_a_query_that_told_of_an_older_url_makes_no_difference() -> None:
    first = says(seconds=5, audio_url="https://cdn.example/b")
    stored, rebuilt, quiet, large = lived([first, shows(seconds=1, audio_url="https://cdn.example/a")])
    assert len(stored.urls["audio_url"]) == 2
    assert differences("i1", stored, rebuilt, quiet, large) == []
    [one] = differences("i1", stored, rebuilt, (), large)
    assert (one.field, one.sort) == ("url audio_url https://cdn.example/a", Sort.MORE)


def test_a_large_value_must_be_the_one_that_the_state_names() -> None:
    stored, rebuilt, quiet, large = lived([says(seconds=1, lyrics="la " * 400)])
    assert differences("i1", stored, rebuilt, quiet, large) == []
    [digest] = large
    for wrong in ({}, {digest: "another"}):
        [one] = differences("i1", stored, rebuilt, quiet, wrong)
        assert (one.field, one.sort) == ("lyrics (text)", Sort.LACKS)


def test_a_field_that_an_earlier_release_did_not_know_for_what_it_is_can_be_joined_in() -> None:
    seen = says(audio_bgm_url="https://cdn.example/b.mp3", audio_hi_status="running", title="A")
    before = joined(says(title="A"))
    before.values |= {"audio_bgm_url": [us(60), "https://cdn.example/b.mp3"], "audio_hi_status": [us(60), "running"]}
    found = differences("i1", before, joined(seen), (), {})
    assert {one.sort for one in found} == {Sort.LACKS}
    assert differences("i1", join(before, seen).state, joined(seen), (), {}) == []
