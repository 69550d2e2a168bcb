"""How works go when nothing is wrong: what the vendor tells, when, and in which form."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from app.sandbox.config import DEFAULT_KEY, SandboxConfig, all_faults, load_config
from app.sandbox.plan import Plan, decide
from app.sandbox.script import WorkRule
from app.sandbox.state import Sandbox
from app.tempolor.kinds import KINDS
from tests.stories.sandbox.conftest import PATHS, SONG, Caller, Receiver
from tests.support.virtual_time import now_s

PLAIN = {"habits": {"sparse_final": 0, "null_fields": 0, "milliseconds": 0}}


def plan(
    kind: str = "song.generate", n: int = 1, rule: Any = None, params: dict[str, str] | None = None, **config: Any
) -> Plan:
    return decide(
        KINDS[kind],
        {**PATHS[kind][1], **(params or {})},
        n,
        0,
        SandboxConfig.model_validate(config),
        WorkRule.model_validate(rule or {}),
    )


async def test_song_makes_three_callbacks_and_the_last_says_succeeded(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver
) -> None:
    caller = await start(**PLAIN)
    await caller.submit()
    await caller.sandbox.settle()
    assert receiver.events()[0] == "audio_complete"
    assert sorted(receiver.events()[1:]) == ["lrcsections_complete", "wav_complete"]
    first, _, last = receiver.items()
    assert first["status"] == "main_succeeded"
    assert first["audio_hi_status"] == first["lyrics_sections_status"] == "running"
    assert first["audio_url"]
    assert "audio_hi_url" not in first
    assert "lyrics_sections" not in first
    assert last["status"] == "succeeded"
    assert last["audio_hi_status"] == last["lyrics_sections_status"] == "sub_succeeded"
    assert last["audio_url"] == first["audio_url"]
    assert last["audio_hi_url"]
    assert 25 <= len(last["lyrics_sections"]) <= 35
    assert all(section["start"] < section["end"] for section in last["lyrics_sections"])
    assert last["lyrics_sections"][0]["text"].startswith("\n[verse]\n")
    assert 2000 <= len(receiver.raw[-1]) <= 8192
    assert list(receiver.bodies[0]) == ["songs"]


def test_extras_come_in_either_order() -> None:
    orders = {tuple(plan(n=n).marks) for n in range(1, 30)}
    assert orders == {
        ("audio_complete", "wav_complete", "lrcsections_complete"),
        ("audio_complete", "lrcsections_complete", "wav_complete"),
    }


@pytest.mark.parametrize(
    ("kind", "params", "events"),
    [
        ("song.generate", {"model": "Lyria 3 Stream"}, 4),
        ("song.generate", {"instrumental": True}, 2),
        ("instrumental.generate", {}, 2),
        ("instrumental.generate", {"model": "TemPolor i4 stream"}, 3),
        ("lyrics.generate", {}, 1),
        ("stems.create", {}, 1),
        ("midi.create", {}, 1),
    ],
)
async def test_number_of_callbacks(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver, kind: str, params: dict[str, Any], events: int
) -> None:
    caller = await start(**PLAIN)
    await caller.submit(kind, **params)
    await caller.sandbox.settle()
    assert len(receiver.bodies) == events
    ((_, items),) = receiver.bodies[-1].items()
    assert items[0]["status"] == "succeeded"
    assert ("event" in items[0]) == (events > 1)


async def test_streaming_model_tells_the_stream_first(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver
) -> None:
    caller = await start(stream_models=["chirp"])
    await caller.submit(model="Chirp 1")
    await caller.sandbox.settle()
    chunk = receiver.items()[0]
    assert (chunk["event"], chunk["status"]) == ("audio_chunk", "running")
    assert "/stream.mp3?auth_key=" in chunk["streamAudioUrl"]
    assert not chunk.get("audio_url")


async def test_instrumental_song_has_no_lyrics(start: Callable[..., Awaitable[Caller]], receiver: Receiver) -> None:
    caller = await start(habits={"sparse_final": 0})
    (song,) = await caller.submit(instrumental=True)
    await caller.sandbox.settle()
    (item,) = await caller.query("song", song)
    assert item["status"] == "succeeded"
    assert not any(item.get(name) for name in ("lyrics", "lyrics_sections", "lyrics_sections_status"))


async def test_lyrics_of_the_caller_are_sung(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start()
    (song,) = await caller.submit(lyrics="[verse]\nFirst line\nSecond line")
    caller.sandbox.finish()
    (item,) = await caller.query("song", song)
    assert item["lyrics"] == "[verse]\nFirst line\nSecond line"
    assert [section["text"] for section in item["lyrics_sections"]] == ["\n[verse]\nFirst line", "Second line"]


async def test_sparse_final_leaves_out_what_was_told(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver
) -> None:
    caller = await start(habits={"sparse_final": 1})
    (song,) = await caller.submit()
    await caller.sandbox.settle()
    last = receiver.items()[-1]
    assert last["status"] == "succeeded"
    assert not last.get("audio_url")
    assert not last.get("lyrics")
    assert receiver.items()[0]["audio_url"]
    assert (await caller.query("song", song))[0]["audio_url"], "a query tells everything"


@pytest.mark.parametrize("chance", [0, 1])
async def test_unknown_fields_are_null_or_missing(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver, chance: int
) -> None:
    caller = await start(habits={"null_fields": chance})
    await caller.submit()
    await caller.sandbox.settle()
    first = receiver.items()[0]
    for name in ("audio_hi_url", "lyrics_sections"):
        assert (name in first) == bool(chance)
        assert first.get(name) is None


async def test_times_are_seconds_or_milliseconds(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start(habits={"milliseconds": 0})
    caller.sandbox.add_rules(works=[{"milliseconds": True, "prompt": "milli"}])
    before = now_s()
    songs = await caller.submit(prompt="milli"), await caller.submit()
    caller.sandbox.finish()
    for (song,), unit in zip(songs, (1000, 1), strict=True):
        (item,) = await caller.query("song", song)
        for name in ("created_at", "finished_at"):
            assert isinstance(item[name], int)
            assert int(before) <= item[name] / unit < now_s() + 1


async def test_statuses_pass_from_waiting_to_succeeded(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start(scale=40)
    (song,) = await caller.submit()
    seen: list[Any] = []
    while not seen or seen[-1] != "succeeded":
        (item,) = await caller.query("song", song)
        if not seen or seen[-1] != item["status"]:
            seen.append(item["status"])
        await asyncio.sleep(0.1)
    assert seen == ["waiting", "running", "main_succeeded", "succeeded"]


@pytest.mark.parametrize(
    ("kind", "params", "first", "last"),
    [
        ("song.generate", {}, (99, 149), (131, 197)),
        ("instrumental.generate", {"model": "TemPolor i3"}, (1, 2), (1, 3)),
        ("instrumental.generate", {}, (49, 75), (69, 105)),
        ("lyrics.generate", {}, (6, 10), (6, 10)),
        ("stems.create", {}, (48, 72), (48, 72)),
        ("midi.create", {}, (48, 72), (48, 72)),
    ],
)
def test_durations_are_those_of_the_service_with_jitter(
    kind: str, params: dict[str, str], first: tuple[int, int], last: tuple[int, int]
) -> None:
    times = [list(plan(kind, n, params=params).marks.values()) for n in range(1, 40)]
    assert all(first[0] <= marks[0] <= first[1] and last[0] <= marks[-1] <= last[1] for marks in times)
    assert len({marks[0] for marks in times}) > 30


async def test_scale_divides_durations(start: Callable[..., Awaitable[Caller]], receiver: Receiver) -> None:
    caller = await start(scale=400, durations={"jitter": 0})
    at = now_s()
    await caller.submit("stems.create")
    await caller.sandbox.settle()
    assert 0.15 <= receiver.times[0] - at < 0.5
    (work,) = caller.sandbox.works
    assert work.ended_at - work.accepted_at == pytest.approx(60 / 400, abs=0.001)


async def test_several_items_each_with_their_own_callbacks(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver
) -> None:
    caller = await start(items_per_submission=3)
    item_ids = await caller.submit()
    await caller.sandbox.settle()
    assert len(set(item_ids)) == 3
    named = [item["item_id"] for item in receiver.items()]
    assert {item_id: named.count(item_id) for item_id in item_ids} == dict.fromkeys(item_ids, 3)


async def test_items_of_one_submission_have_each_their_own_fate(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start(scale=1, items_per_submission=20, habits={"failed": 0.5})
    await caller.submit()
    (work,) = caller.sandbox.works
    assert {item.plan.outcome for item in work.items} == {"failed", "succeeded"}
    assert len({item.ended_at for item in work.items}) == 20


async def test_only_stems_callbacks_carry_the_vendor_key(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver
) -> None:
    caller = await start()
    await caller.submit("lyrics.generate")
    await caller.sandbox.settle()
    await caller.submit("stems.create")
    await caller.sandbox.settle()
    assert [headers.get("authorization") for headers in receiver.headers] == [None, DEFAULT_KEY]
    assert {headers["content-type"] for headers in receiver.headers} == {"application/json"}


@pytest.mark.parametrize(("shape", "kind"), [("url", str), ("list", list), ("object", dict)])
async def test_shapes_of_stems(
    start: Callable[..., Awaitable[Caller]], shape: str, kind: type[str] | type[list[Any]] | type[dict[str, Any]]
) -> None:
    caller = await start(stems_shape=shape)
    (stems,) = await caller.submit("stems.create")
    caller.sandbox.finish()
    assert isinstance((await caller.query("stems", stems))[0]["stems_url"], kind)


@pytest.mark.parametrize("kind", ["song.generate", "instrumental.generate", "lyrics.generate", "stems.create"])
async def test_failed_work_is_called_back_once_with_a_reason(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver, kind: str
) -> None:
    caller = await start(habits={"failed": 1})
    (item_id,) = await caller.submit(kind)
    await caller.sandbox.settle()
    (body,) = receiver.bodies
    ((_, (item,)),) = body.items()
    assert item["status"] == "failed"
    assert item["err_msg"]
    assert not item.get("audio_url")
    (shown,) = await caller.query(kind.split(".", maxsplit=1)[0], item_id)
    assert shown["status"] == "failed"


@pytest.mark.parametrize(
    ("outcome", "field", "url"),
    [
        ("part_failed_wav", "audio_hi_status", "audio_hi_url"),
        ("part_failed_sections", "lyrics_sections_status", "lyrics_sections"),
    ],
)
async def test_part_failed_keeps_the_mp3(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver, outcome: str, field: str, url: str
) -> None:
    caller = await start(habits={"sparse_final": 0})
    caller.sandbox.add_rules(works=[{"outcome": outcome}])
    await caller.submit()
    await caller.sandbox.settle()
    last = receiver.items()[-1]
    assert (last["status"], last[field]) == ("part_failed", "sub_failed")
    assert last["audio_url"]
    assert not last.get(url)


def test_mix_of_outcomes_follows_the_chances() -> None:
    mix = [plan(n=n, habits={"failed": 0.2, "part_failed": 0.3, "stuck": 0.1}).outcome for n in range(1, 501)]
    assert 60 < mix.count("failed") < 140
    assert mix.count("part_failed_wav") > 30
    assert mix.count("part_failed_sections") > 30
    assert 25 < mix.count("stuck") < 80
    assert mix.count("succeeded") > 150


async def test_stuck_work_never_ends_by_itself(start: Callable[..., Awaitable[Caller]], receiver: Receiver) -> None:
    caller = await start(scale=100_000)
    caller.sandbox.add_rules(works=[{"outcome": "stuck", "odd_status": "cancelled"}])
    (song,) = await caller.submit()
    await caller.sandbox.settle()
    await asyncio.sleep(0.02)
    assert (await caller.query("song", song))[0]["status"] == "cancelled"
    assert receiver.bodies == []
    assert caller.sandbox.truth()["in_flight"] == 1
    caller.sandbox.finish()
    assert (await caller.query("song", song))[0]["status"] == "succeeded"


async def test_odd_status_is_shown_until_there_is_something(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver
) -> None:
    caller = await start(scale=1, habits={"odd_status": 1})
    (song,) = await caller.submit()
    assert (await caller.query("song", song))[0]["status"] in {"pending", "queued", "processing"}
    caller.sandbox.finish()
    await caller.sandbox.settle()
    assert receiver.items()[0]["status"] == "main_succeeded"


async def test_odd_event_and_odd_fields(start: Callable[..., Awaitable[Caller]], receiver: Receiver) -> None:
    caller = await start(habits={"odd_event": 1, "odd_fields": 1})
    await caller.submit()
    await caller.sandbox.settle()
    assert len(receiver.events()) == 4
    known = {"audio_complete", "wav_complete", "lrcsections_complete"}
    (odd,) = [item for item in receiver.items() if item["event"] not in known]
    assert odd["status"] in {"main_succeeded", "succeeded"}
    assert all(isinstance(item["tags_v2"], list) and isinstance(item["bpm"], int) for item in receiver.items())


async def test_same_seed_same_decisions_whatever_the_concurrency(start: Callable[..., Awaitable[Caller]]) -> None:
    async def fates(seed: int, together: bool) -> list[object]:
        caller = await start(scale=1, seed=seed, **all_faults().model_dump(include={"habits", "callbacks"}))
        if together:
            await asyncio.gather(*(caller.submit() for _ in range(20)))
        else:
            for _ in range(20):
                await caller.submit()
        plans = [item.plan for work in caller.sandbox.works for item in work.items]
        return [(plan.outcome, plan.dropped, plan.marks, plan.sends) for plan in plans]

    one = await fates(7, together=False)
    assert one == await fates(7, together=True)
    assert one != await fates(8, together=False)


async def test_same_callback_is_the_same_bytes_each_time(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver
) -> None:
    caller = await start(callbacks={"double": 1})
    await caller.submit()
    await caller.sandbox.settle()
    assert len(receiver.raw) == 6
    assert len(set(receiver.raw)) == 3


def test_config_from_the_command_line(tmp_path: Path) -> None:
    assert load_config(None, scale=60, seed=None) == SandboxConfig(scale=60)
    assert load_config("all", scale=60) == all_faults(scale=60)
    faults = {"scale": 5, "callbacks": {"drop": 0.5}, "submit": {"codes": {"400006": 0.1}}}
    file = tmp_path / "faults.json"
    file.write_text(json.dumps(faults))
    for given in (json.dumps(faults), str(file)):
        config = load_config(given, scale=60)
        assert (config.scale, config.callbacks.drop, config.submit.codes) == (60, 0.5, {400006: 0.1})
    for wrong in ("nowhere.json", "{", '{"callback": {}}', '{"scale": 0}', '{"callbacks": {"drop": 2}}'):
        with pytest.raises(ValueError, match=r"faults|validation error"):
            load_config(wrong)


async def test_public_url_is_used_in_links() -> None:
    sandbox = Sandbox(SandboxConfig(public_url="http://sandbox:9000"), "http://127.0.0.1:1", now_s)
    work, _ = sandbox.accept(1, KINDS["song.generate"], {**SONG, "callback_url": "http://127.0.0.1:1/"})
    sandbox.works.finish()
    assert sandbox.works.shown(work.items[0], now_s())["audio_url"].startswith("http://sandbox:9000/files/")
    await sandbox.close()
