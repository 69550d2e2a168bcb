"""The forms beside the documented one, answers that are too much, and texts that repeat the call."""

import json
import zlib
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.stories.sandbox.conftest import PATHS, SONG, Caller, Receiver


async def raw_submission(caller: Caller, **answer: Any) -> tuple[httpx.Headers, bytes]:
    """The raw answer to a submission that is scripted so."""
    caller.sandbox.add_rules(answers=[{"operation": "submit", **answer}])
    body = {**SONG, "callback_url": caller.callback_url}
    async with caller.client.stream("POST", "/open-apis/v1/song/generate", json=body) as answered:
        return answered.headers, b"".join([piece async for piece in answered.aiter_raw()])


async def test_flat_ids_and_ids_as_a_list(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start()
    _, flat = await raw_submission(caller, form="flat")
    _, listed = await raw_submission(caller, form="data_list")
    assert [[ids] for ids in (json.loads(flat)["item_ids"], json.loads(listed)["data"])] == [
        [work.item_ids] for work in caller.sandbox.works
    ]


@pytest.mark.parametrize("form", ["flat", "data_list", "text_status", "broken_text", "raw_newline", "gbk"])
async def test_each_form_of_a_query_holds_the_item(start: Callable[..., Awaitable[Caller]], form: str) -> None:
    caller = await start()
    (song,) = await caller.submit()
    caller.sandbox.finish()
    caller.sandbox.add_rules(answers=[{"operation": "query", "form": form}])
    raw = (await caller.post("/song/query", {"item_ids": [song]})).content
    found = json.loads(raw.decode("gb18030" if form == "gbk" else "utf-8", errors="replace"), strict=False)
    items = found["songs"] if form == "flat" else found["data"] if form == "data_list" else found["data"]["songs"]
    assert (items[0]["item_id"], items[0]["status"]) == (song, "succeeded")
    assert (found.get("status") == "200000") == (form == "text_status")
    if form in ("broken_text", "raw_newline", "gbk"):
        # What a strict reader refuses.
        with pytest.raises(ValueError, match=r"decode|control character"):
            json.loads(raw.decode())


@pytest.mark.parametrize(("excess", "layers"), [("gzip_bomb", 1), ("gzip_twice", 2)])
async def test_a_bomb_is_small_on_the_wire(start: Callable[..., Awaitable[Caller]], excess: str, layers: int) -> None:
    headers, raw = await raw_submission(await start(), excess=excess)
    assert headers["content-encoding"] == ", ".join(["gzip"] * layers)
    assert len(raw) < 1024 * 1024
    grown = raw
    for _ in range(layers):
        grown = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(grown, 32 * 1024 * 1024)
    assert len(grown) == 32 * 1024 * 1024


async def test_a_flood_of_ids_begins_with_the_true_one(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start()
    _, raw = await raw_submission(caller, excess="flood")
    (work,) = caller.sandbox.works
    item_ids = json.loads(raw)["data"]["item_ids"]
    assert (item_ids[:1], len(item_ids)) == (work.item_ids, 500_001)


async def test_words_of_an_answer_echo_the_call(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start()
    words = {"message": "no: {key}", "request_id": "{callback_url}"}
    _, raw = await raw_submission(caller, status=400003, **words)
    told = json.loads(raw)
    assert told["message"] == f"no: {caller.sandbox.config.api_key}"
    assert told["request_id"] == caller.callback_url


async def test_texts_of_an_item_echo_the_call(start: Callable[..., Awaitable[Caller]], receiver: Receiver) -> None:
    caller = await start(habits={"sparse_final": 0})
    caller.sandbox.add_rules(works=[{"echo": True}])
    await caller.submit()
    await caller.sandbox.settle()
    echo = f"{caller.sandbox.config.api_key} {caller.callback_url}"
    for item in receiver.items():
        assert (item["title"], item["style"], item[echo]) == (echo, quote(echo, safe=""), 1)


async def test_callbacks_in_an_envelope(start: Callable[..., Awaitable[Caller]], receiver: Receiver) -> None:
    caller = await start(habits={"enveloped": 1})
    await caller.submit()
    await caller.sandbox.settle()
    assert [(body["status"], len(body["data"]["songs"])) for body in receiver.bodies] == [(200000, 1)] * 3


async def test_an_instrumental_can_have_aligned_lyrics(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver
) -> None:
    caller = await start()
    caller.sandbox.add_rules(works=[{"instrumental_sections": True, "sections_in_ms": True, "sparse_final": False}])
    (item_id,) = await caller.submit("instrumental.generate")
    await caller.sandbox.settle()
    assert receiver.events("instrumentals") == ["audio_complete", "wav_complete", "lrcsections_complete"]
    (item,) = await caller.query("instrumental", item_id)
    assert {"start_ms", "end_ms", "text"} == item["lyrics_sections"][0].keys()


async def test_an_instrumental_song_can_wait_for_lyrics_for_ever(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver
) -> None:
    caller = await start(habits={"waiting_sections": 1})
    (song,) = await caller.submit(instrumental=True)
    await caller.sandbox.settle()
    (item,) = await caller.query("song", song)
    assert (item["status"], item["lyrics_sections_status"]) == ("succeeded", "waiting")


async def test_the_accompaniment_is_shown_by_queries(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver
) -> None:
    caller = await start(habits={"bgm": 1})
    (song,) = await caller.submit()
    await caller.sandbox.settle()
    assert not any("audio_bgm_url" in item for item in receiver.items())
    (item,) = await caller.query("song", song)
    assert "/bgm.mp3?auth_key=" in item["audio_bgm_url"]


@pytest.mark.parametrize("kind", ["stems.create", "midi.create"])
async def test_an_input_can_be_gone_when_it_is_fetched(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver, kind: str
) -> None:
    caller = await start(habits={"dead_input": 1})
    family = kind.partition(".")[0]
    (item_id,) = await caller.submit(kind)
    (song,) = await caller.submit()
    await caller.sandbox.settle()
    assert (await caller.query(family, item_id))[0]["status"] == "failed"
    # What needs no input is not touched.
    assert (await caller.query("song", song))[0]["status"] == "succeeded"
    assert "url" in PATHS[kind][1]


async def test_a_link_tells_when_it_ends(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start()
    (song,) = await caller.submit()
    caller.sandbox.finish()
    (item,) = await caller.query("song", song)
    (work,) = caller.sandbox.works
    ends_at = int(item["audio_url"].partition("auth_key=")[2].partition("-")[0])
    assert ends_at == int(work.accepted_at) + 3 * 86_400
    assert (await caller.client.get(item["audio_url"])).status_code == 200
