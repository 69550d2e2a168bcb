"""Whatever comes under a leaked token: an item's state, a task's document and a page of tasks have a bound."""

import json
from uuid import UUID

import pytest

from app.domain.fields import KNOWN
from app.domain.item import ItemState, join, size_of
from app.domain.observation import Observation, Source
from app.domain.transition import MOST_ITEMS
from app.flows.fitting import MOST_PAGE_BYTES, MOST_TASK_BYTES, fit_items, page_of
from app.vendor import wire
from app.vendor.kinds import FAMILIES, SONG

MOST_STATE_BYTES = 640 * 1024


def worst_item(family, turn=0, letter="\x01"):
    """An item of which everything is as long as can be; a letter takes up to six bytes."""
    chars = {"model": 200, "title": 500, "style": 1000, "prompt": 3000, "err_msg": 1000, "error": 1000}
    chars |= dict.fromkeys(("lyrics", "lyric", "lyrics_disp", "lrc_mv"), 6000)
    item = {name: letter * (count - len(name)) + name for name, count in chars.items()}
    item["lyrics_sections"] = [{"start_ms": 10, "end_ms": 20, "text": letter} for _ in range(64 * 1024 // 45)]
    item |= {f"{turn:02}{n:02}" + letter * 196: f"{n:02}" + letter * 681 for n in range(40)}
    item |= dict.fromkeys(family.shape.url_fields, f"https://cdn/{turn}/" + letter * 670)
    return item


def odd_item(family):
    names = KNOWN | family.shape.url_fields | family.shape.status_fields | {"event"}
    return {name: {"k": "v" * 2030} for name in names}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_the_state_of_an_item_is_bounded_whatever_is_said_of_it(family):
    state, large = ItemState(), {}
    bodies = [worst_item(family, turn) for turn in range(20)] + [odd_item(family)]
    for at, item in enumerate(bodies):
        [reading] = wire.read_items([{"item_id": "i" * 200, **item}], family, of_callback=True).readings
        joined = join(state, Observation(family.name, reading, Source.CALLBACK, at))
        state = joined.state
        large |= {state.large[name][1]: value for name, value in joined.large.items()}
    kept = {held[1] for held in state.large.values()}
    total = size_of(state) + sum(size_of(value) for digest, value in large.items() if digest in kept)
    assert state.left_out
    assert all(state.has(name) for name in ("title", "lyrics", "lyrics_sections"))
    assert total <= MOST_STATE_BYTES


def test_what_fits_is_left_whole_and_of_what_does_not_the_largest_is_shortened():
    def shown(size, n):
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


@pytest.mark.parametrize(("size", "pages"), [(1000, [200]), (50_000, [168, 32]), (2_000_000, [5] * 40)])
def test_a_page_ends_where_it_is_large_enough_and_little_more_is_read(size, pages):
    records, lengths = list(range(200)), []
    while records:
        read: list[int] = []

        def documents(part, read=read):
            read += part
            return [{"n": n, "text": "t" * size} for n in part]

        page = page_of(records, documents)
        assert [one["n"] for one in page] == records[: len(page)]
        assert len(read) <= max(len(page) * 3, len(page) + 4)
        assert sum(map(size_of, page)) <= MOST_PAGE_BYTES + size + 100
        lengths.append(len(page))
        records = records[len(page) :]
    assert lengths == pages


async def test_a_task_of_many_large_items_stays_within_its_bound(gateway, db):
    task = await gateway.submit()
    large = {name: value for name, value in worst_item(SONG, letter="港").items() if name != "lyrics_sections"}
    for start in range(0, MOST_ITEMS, 4):
        body = {"songs": [{"item_id": f"t2m_{n}", "status": "running", **large} for n in range(start, start + 4)]}
        assert (
            await gateway.call_back("song", json.dumps(body, ensure_ascii=False).encode(), UUID(task["id"]))
        ).is_success
    beyond = {"songs": [{"item_id": "t2m_more", "status": "running"}, {"item_id": "t2m_0", "title": "known"}]}
    assert (await gateway.call_back("song", beyond, UUID(task["id"]))).text == "success"
    answer = await gateway.api.get(f"/v1/tasks/{task['id']}")
    found = answer.json()
    assert len(answer.content) <= MOST_TASK_BYTES
    assert len(found["items"]) == MOST_ITEMS
    assert (found["items"][0]["title"], found["items"][1]["title"]) == ("known", large["title"])
    assert found["warnings"] == ["values_left_out", "items_left_out"]
    assert (await gateway.api.get("/v1/items/t2m_more")).status_code == 404
    more = [(await gateway.submit())["id"] for _ in range(3)]
    page = (await gateway.api.get("/v1/tasks?limit=4")).json()
    assert [one["id"] for one in page["data"]] == [*more[::-1], task["id"]]
    assert page["next_cursor"] is None


async def test_bodies_of_new_fields_without_end_leave_a_small_task(gateway, db):
    task = await gateway.submit()
    for n in range(40):
        body = {"songs": [{"item_id": "t2m_1", f"news_{n}": f"{n}" * 100_000, f"small_{n}": "s" * 4000}]}
        assert (await gateway.call_back("song", body, UUID(task["id"]))).text == "success"
    answer = await gateway.api.get(f"/v1/tasks/{task['id']}")
    assert len(answer.content) < 200_000
    assert answer.json()["warnings"] == ["values_left_out"]
    rows = await db.rows("SELECT value FROM item_values")
    assert sum(len(str(row["value"])) for row in rows) < 200_000
