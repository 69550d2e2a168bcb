"""Whatever comes under a leaked token: an item's state, a task's document and a page of tasks have a bound."""

from collections.abc import Sequence
from typing import Any

import pytest

from app.documents.document import MOST_PAGE_BYTES, MOST_TASK_BYTES, fit_items, page_of
from app.rules.join import ItemState, join, size_of
from app.rules.observation import KNOWN, Observation, Source
from app.rules.transition import MOST_ITEMS
from app.tempolor import item_readings
from app.tempolor.kinds import FAMILIES, Family
from tests.support.song_callbacks import worst_item

MOST_STATE_BYTES = 640 * 1024


def odd_item(family: Family) -> dict[str, Any]:
    names = KNOWN | family.shape.url_fields | family.shape.status_fields | {"event"}
    return {name: {"k": "v" * 2030} for name in names}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_the_state_of_an_item_is_bounded_whatever_is_said_of_it(family: Family) -> None:
    state = ItemState()
    large: dict[str, Any] = {}
    bodies = [worst_item(family, turn) for turn in range(20)] + [odd_item(family)]
    for at, item in enumerate(bodies):
        [reading] = item_readings.read_items([{"item_id": "i" * 200, **item}], family, of_callback=True).readings
        joined = join(state, Observation(family.name, reading, Source.CALLBACK, at))
        state = joined.state
        large |= {state.large[name][1]: value for name, value in joined.large.items()}
    kept = {held[1] for held in state.large.values()}
    total = size_of(state) + sum(size_of(value) for digest, value in large.items() if digest in kept)
    assert state.left_out
    assert all(state.has(name) for name in ("title", "lyrics", "lyrics_sections"))
    assert total <= MOST_STATE_BYTES


def test_what_fits_is_left_whole_and_of_what_does_not_the_largest_is_shortened() -> None:
    def shown(size: int, n: int) -> dict[str, Any]:
        return {"item_id": f"{n}", "lyrics": "l" * size, "lyrics_sections": [], "vendor": {"lyrics": "l" * size}}

    small = [shown(10_000, n) for n in range(MOST_ITEMS)]
    assert not fit_items(small)
    assert small == [shown(10_000, n) for n in range(MOST_ITEMS)]
    few = [shown(300_000, n) for n in range(5)]
    assert not fit_items(few)
    mixed = [shown(10_000, n) if n % 2 else shown(150_000, n) for n in range(40)]
    assert fit_items(mixed)
    assert [one for one in mixed if one["item_id"] == "1"] == [shown(10_000, 1)]
    assert mixed[0]["vendor"] == {"left_out": "150013 bytes"}
    assert mixed[0]["lyrics"] is None
    between = [shown(60_000, n) for n in range(40)]
    assert fit_items(between)
    assert between[0]["lyrics"] == "l" * 60_000
    for one in (mixed, between):
        assert size_of(one) <= MOST_TASK_BYTES


@pytest.mark.parametrize(("size", "pages"), [(1000, [200]), (50_000, [168, 32]), (2_000_000, [5] * 8)])
def test_a_page_ends_where_it_is_large_enough_and_little_more_is_read(size: int, pages: list[int]) -> None:
    records: list[Any] = list(range(sum(pages)))
    lengths = []
    while records:
        read: list[int] = []

        def documents(part: Sequence[Any], read: list[int] = read) -> list[dict[str, Any]]:
            read += part
            return [{"n": n, "text": "t" * size} for n in part]

        page = page_of(records, documents)
        assert [one["n"] for one in page] == records[: len(page)]
        assert len(read) <= max(len(page) * 3, len(page) + 4)
        assert sum(map(size_of, page)) <= MOST_PAGE_BYTES + size + 100
        lengths.append(len(page))
        records = records[len(page) :]
    assert lengths == pages
