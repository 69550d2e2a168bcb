"""Free slots are shared out one by one to who has the fewest tasks in flight."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from app.limits.fair_order import in_turn, share

NAMES = ("a", "b", "c", "d")


def test_who_has_the_fewest_in_flight_gets_the_next_slot() -> None:
    assert share(1, {"a": 3, "b": 2}, ["a", "b"]) == ["b"]
    assert share(5, {"a": 3}, ["a", "b"]) == ["b", "b", "b", "a", "b"]


def test_among_equals_who_stands_first_gets_it() -> None:
    assert share(1, {}, ["b", "a"]) == ["b"]
    assert share(3, {}, ["b", "a"]) == ["b", "a", "b"]


def test_without_room_or_clients_nobody_gets_one() -> None:
    assert share(0, {}, ["a"]) == []
    assert share(3, {"a": 1}, []) == []


def test_turns_go_on_after_the_one_that_came_last() -> None:
    assert in_turn(["c", "a", "b"], None) == ["a", "b", "c"]
    assert in_turn(["c", "a", "b"], "a") == ["b", "c", "a"]
    assert in_turn(["c", "a"], "b") == ["c", "a"]
    assert in_turn(["a", "b"], "z") == ["a", "b"]


@given(
    st.integers(0, 40),
    st.dictionaries(st.sampled_from(NAMES), st.integers(0, 20)),
    st.lists(st.sampled_from(NAMES), unique=True, min_size=1),
)
def test_all_room_is_given_and_nobody_could_envy_another(
    room: int, in_flight: dict[str, int], waiting: list[str]
) -> None:
    shares = Counter(share(room, in_flight, waiting))
    assert shares.total() == room
    after = {name: in_flight.get(name, 0) + shares[name] for name in waiting}
    # Whoever got something has at most one more than anybody who waits.
    assert all(after[name] <= min(after.values()) + 1 for name in shares)
