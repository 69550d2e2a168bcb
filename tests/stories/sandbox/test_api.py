"""The vendor's API as its reference describes it."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from app.sandbox.config import DEFAULT_KEY, Prices
from app.sandbox.parameters import QUERY_LIMIT
from app.sandbox.run import running
from app.sandbox.works import price
from app.tempolor.kinds import KINDS, QUERY_BATCH, family_of
from tests.stories.sandbox.conftest import LIST_KEYS, PATHS, SONG, Caller, Receiver
from tests.support.not_none import present


@pytest.mark.parametrize("kind", PATHS)
async def test_every_kind_is_accepted_called_back_and_queried(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver, kind: str
) -> None:
    caller = await start()
    (item_id,) = await caller.submit(kind)
    await caller.sandbox.settle()
    family = family_of(kind)
    (item,) = await caller.query(family, item_id)
    assert item["item_id"] == item_id
    assert item["status"] == "succeeded"
    assert item.get("event") is None
    assert {shown["item_id"] for shown in receiver.items(LIST_KEYS[family])} == {item_id}


def test_all_registered_kinds_are_covered() -> None:
    assert set(PATHS) == set(KINDS)
    assert QUERY_LIMIT == QUERY_BATCH


async def test_envelope_and_account(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start(balance=776.56)
    answer = await caller.call("/account/billing", {})
    assert answer == {
        "status": 200000,
        "message": "success",
        "request_id": answer["request_id"],
        "data": {"balance": 776.56},
    }
    assert re.fullmatch(r"[0-9a-f-]{36}", answer["request_id"])
    assert (await caller.call("/account/billing", {}))["request_id"] != answer["request_id"]


@pytest.mark.parametrize("key", ["", "Tempo-other", f"Bearer {DEFAULT_KEY}"])
@pytest.mark.parametrize("path", ["/account/billing", "/song/generate", "/song/query"])
async def test_wrong_key_is_400002_with_http_200(start: Callable[..., Awaitable[Caller]], key: str, path: str) -> None:
    caller = await start()
    answer = await caller.post(path, {}, headers={"Authorization": key})
    assert answer.status_code == 200
    assert answer.json()["status"] == 400002
    assert len(caller.sandbox.works) == 0


async def test_get_is_405_and_unknown_path_404(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start()
    assert (await caller.client.get("/open-apis/v1/song/query")).status_code == 405
    assert (await caller.client.get("/open-apis/v1/song/generate")).status_code == 405
    assert (await caller.post("/song/remix", {})).status_code == 404


@pytest.mark.parametrize(
    "request_form",
    [
        {"data": {"item_ids[]": "t2m_1"}},
        {"json": {"item_ids[]": ["t2m_1"]}},
        {"content": b"{"},
        {"content": b""},
        {"content": b"\xff"},
        {"content": b"[" * 5000},
        {"json": ["t2m_1"]},
        {"json": {"item_ids": []}},
        {"json": {"item_ids": "t2m_1"}},
        {"json": {"item_ids": [1]}},
        {"json": {"item_ids": [f"t2m_{n}" for n in range(11)]}},
    ],
)
async def test_bad_query_is_400003(start: Callable[..., Awaitable[Caller]], request_form: dict[str, Any]) -> None:
    caller = await start(unknown_items="omit")
    answer = await caller.client.post("/open-apis/v1/song/query", **request_form)
    assert answer.status_code == 200
    assert answer.json()["status"] == 400003


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("song.generate", {"callback_url": None}, "callback_url not blank"),
        ("song.generate", {"callback_url": "  "}, "callback_url not blank"),
        ("song.generate", {"prompt": ""}, "prompt not blank"),
        ("song.generate", {"model": None}, "model not blank"),
        ("song.generate", {"prompt": "x" * 1001}, "prompt exceeds 1000 characters"),
        ("song.generate", {"lyrics": "x" * 3001}, "lyrics exceeds 3000 characters"),
        ("song.extend", {"start_time": 9}, "start_time must be between 10 and 600"),
        ("song.extend", {"start_time": True}, "start_time must be between 10 and 600"),
        ("song.extend", {"item_id": None}, "item_id not blank"),
        ("instrumental.extend", {"start_time": 601}, "start_time must be between 10 and 600"),
        ("lyrics.generate", {"prompt": None}, "prompt not blank"),
        ("stems.create", {"url": ""}, "url not blank"),
        ("midi.create", {"url": None}, "url not blank"),
    ],
)
async def test_bad_parameter_is_400003_and_named(
    start: Callable[..., Awaitable[Caller]], kind: str, change: dict[str, Any], words: str
) -> None:
    caller = await start()
    path, usual = PATHS[kind]
    answer = await caller.call(path, {**usual, "callback_url": caller.callback_url, **change})
    assert (answer["status"], answer["message"]) == (400003, words)
    assert len(caller.sandbox.works) == 0


async def test_ten_ids_in_one_query_come_shuffled_and_unknown_fields_are_taken(
    start: Callable[..., Awaitable[Caller]],
) -> None:
    caller = await start(items_per_submission=10, scale=1)
    item_ids = await caller.submit(colour="blue")
    orders = [[item["item_id"] for item in await caller.query("song", *item_ids)] for _ in range(3)]
    assert all(sorted(order) == sorted(item_ids) for order in orders)
    assert any(order != item_ids for order in orders)
    assert next(iter(caller.sandbox.works)).params == {**SONG, "colour": "blue"}


@pytest.mark.parametrize("ids", [["t2m_no"], ["mine", "t2m_no"]])
async def test_one_unknown_id_refuses_the_whole_query(start: Callable[..., Awaitable[Caller]], ids: list[str]) -> None:
    caller = await start()
    (mine,) = await caller.submit()
    answer = await caller.call("/song/query", {"item_ids": [mine if item_id == "mine" else item_id for item_id in ids]})
    assert (answer["status"], answer["data"]) == (400008, {})


async def test_unknown_ids_can_be_omitted_and_families_are_apart(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start(unknown_items="omit")
    (song,) = await caller.submit()
    assert [item["item_id"] for item in await caller.query("song", song, "t2m_no")] == [song]
    assert await caller.query("stems", song) == []


async def test_young_item_is_not_visible_yet(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start(scale=1, visible_after_s=0.2)
    (song,) = await caller.submit()
    assert (await caller.call("/song/query", {"item_ids": [song]}))["status"] == 400008
    await asyncio.sleep(0.21)
    assert (await caller.query("song", song))[0]["status"] == "waiting"


async def test_query_can_omit_items(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start(query_omits=1)
    (song,) = await caller.submit()
    assert await caller.query("song", song) == []


async def test_points_are_spent_and_failed_items_paid_back(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start(scale=1, balance=100, enforce_balance=True)

    async def balance() -> float:
        return float((await caller.call("/account/billing", {}))["data"]["balance"])

    await caller.submit(lyrics="la la")
    assert await balance() == 70
    await caller.submit()
    assert await balance() == 33, "a song whose lyrics are to be written costs more"
    caller.sandbox.add_rules(works=[{"outcome": "failed"}])
    await caller.submit(lyrics="la la")
    answer = await caller.call("/song/generate", {**SONG, "callback_url": caller.callback_url})
    assert answer["status"] == 400005
    caller.sandbox.finish()
    assert await balance() == 33


@pytest.mark.parametrize(
    ("kind", "params", "points"),
    [
        ("song.generate", {"lyrics": "la"}, 30),
        ("song.generate", {"lyrics": ""}, 37),
        ("song.generate", {"lyrics": "la", "model": "Mureka V9.5"}, 100),
        ("song.generate", {"model": "a model of next year"}, 37),
        ("song.generate", {"action": "upload_cover", "upload_audio_url": "https://a.example/b.mp3"}, 77),
        ("song.generate", {"instrumental": True}, 30),
        ("song.generate", {"instrumental": True, "model": "TemPolor i3"}, 20),
        ("song.extend", {"lyrics": "la"}, 30),
        ("instrumental.generate", {"model": "TemPolor i3"}, 20),
        ("instrumental.extend", {}, 30),
        ("lyrics.generate", {}, 7),
        ("stems.create", {}, 35),
        ("midi.create", {}, 200),
    ],
)
def test_what_a_submission_costs(kind: str, params: dict[str, Any], points: int) -> None:
    _, usual = PATHS[kind]
    assert price(family_of(kind), {**usual, **params}, Prices()) == points


async def test_prices_are_data(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start(balance=100, prices={"lyrics": {"*": 1}})
    await caller.submit(instrumental=False)
    assert caller.sandbox.works.balance(0) == 100 - 31
    changed = await caller.control("PATCH", "/config", {"prices": {"song": {"tempolor-latest": 2.5}}})
    assert (changed["prices"]["song"], changed["prices"]["lyrics"]) == ({"tempolor-latest": 2.5}, {"*": 1})
    await caller.submit(lyrics="la")
    await caller.submit(lyrics="la", model="not in the list")
    assert caller.sandbox.works.balance(0) == 100 - 31 - 2.5
    await caller.control("PATCH", "/config", {"prices": {"song": {"*": -1}}}, expect=422)


async def test_parallel_limit_is_400007_until_a_work_ends(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start(scale=1, parallel_limit=2)
    await caller.submit()
    await caller.submit("stems.create")
    body = {**SONG, "callback_url": caller.callback_url}
    assert (await caller.call("/song/generate", body))["status"] == 400007
    caller.sandbox.finish()
    assert (await caller.call("/song/generate", body))["status"] == 200000
    assert caller.sandbox.truth()["max_in_flight"] == 2


@pytest.mark.parametrize(("answer", "seen"), [("http_429", (429, None)), ("status_400006", (200, 400006))])
async def test_query_rate_is_limited_and_violations_counted(
    start: Callable[..., Awaitable[Caller]], answer: str, seen: tuple[int, int | None]
) -> None:
    caller = await start(query_rate_per_s=1, query_burst=2, query_limit_answer=answer)
    (song,) = await caller.submit()
    await caller.query("song", song)
    await caller.query("song", song)
    refused = await caller.post("/song/query", {"item_ids": [song]})
    assert (refused.status_code, refused.json()["status"] if refused.status_code == 200 else None) == seen
    truth = caller.sandbox.truth()
    assert (truth["query_rate_violations"], truth["max_queries_per_s"]) == (1, 3)
    await asyncio.sleep(1.05)
    await caller.query("song", song)
    assert caller.sandbox.truth()["max_queries_per_s"] == 3, "a second is over after a second"


async def test_extensions_can_be_held_to_existing_works(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start(scale=1, check_extended=True)
    (song,) = await caller.submit()
    body = {"item_id": "t2m_none", "start_time": 30, "callback_url": caller.callback_url}
    assert (await caller.call("/song/extend", body))["status"] == 400008
    assert (await caller.call("/song/extend", {**body, "item_id": song}))["status"] == 400009
    caller.sandbox.finish()
    await caller.submit("song.extend", item_id=song)


async def test_ids_differ_between_families_works_and_runs(start: Callable[..., Awaitable[Caller]]) -> None:
    async with running() as one, running() as other:
        names = set()
        for sandbox in (one, other):
            async with httpx.AsyncClient(base_url=sandbox.base_url, headers={"Authorization": DEFAULT_KEY}) as client:
                for path, usual in PATHS.values():
                    body = {**usual, "callback_url": "http://127.0.0.1:1/"}
                    answer = await client.post(f"/open-apis/v1{path}", json=body)
                    names.add(answer.json()["data"]["item_ids"][0])
    assert len(names) == 2 * len(PATHS)
    assert {present(re.match(r"t2m_|mss_|\d", name)).group() for name in names} >= {"t2m_", "mss_"}
    assert any(name.isdecimal() for name in names)


async def test_links_are_signed_and_lead_to_files(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start(scale=1, resign_every_s=0.2)
    (song,) = await caller.submit()
    caller.sandbox.finish()
    (item,) = await caller.query("song", song)
    url = item["audio_url"]
    assert url.startswith(f"{caller.sandbox.base_url}/files/{song}/")
    fetched = await caller.client.get(url)
    assert (fetched.status_code, fetched.content[:3]) == (200, b"ID3")
    assert (await caller.client.get(item["audio_hi_url"])).content[:4] == b"RIFF"
    assert (await caller.client.get(url.partition("?")[0])).status_code == 403, "the query belongs to the link"
    assert (await caller.client.get(url[:-1])).status_code == 403
    assert (await caller.client.get(url.replace(song, "t2m_other"))).status_code == 404
    deadline = asyncio.get_running_loop().time() + 3
    while (await caller.query("song", song))[0]["audio_url"] == url:
        assert asyncio.get_running_loop().time() < deadline, "never signed anew"
        await asyncio.sleep(0.1)
