"""Faults on demand: by script, by chance, and what they leave in the truth."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from app.sandbox.config import all_faults
from app.sandbox.replies import MESSAGES
from tests.stories.sandbox.conftest import PATHS, SONG, Caller, Receiver
from tests.support.virtual_time import monotonic, now_s

PLAIN = {"habits": {"sparse_final": 0}}
CODES = sorted(set(MESSAGES) - {200000})
ORDINARY = ["audio_complete", "lrcsections_complete", "wav_complete"]


async def submission(caller: Caller, **params: Any) -> httpx.Response:
    """A song's submission, whatever it answers."""
    return await caller.post("/song/generate", {**SONG, "callback_url": caller.callback_url, **params})


# --- who calls


async def test_a_caller_that_leaves_is_no_error(
    start: Callable[..., Awaitable[Caller]], caplog: pytest.LogCaptureFixture
) -> None:
    caller = await start()
    place = urlsplit(caller.sandbox.base_url)
    for path in ("/open-apis/v1/song/generate", "/_sandbox/script"):
        _, writer = await asyncio.open_connection(place.hostname, place.port)
        writer.write(f"POST {path} HTTP/1.1\r\nHost: vendor\r\nContent-Length: 100\r\n\r\n{{".encode())
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        await asyncio.sleep(0.1)
    assert [call["fault"] for call in (await caller.control("GET", "/calls"))["data"]] == ["broken"]
    assert caplog.records == []


# --- callbacks


async def test_dropped_callbacks_are_not_sent(start: Callable[..., Awaitable[Caller]], receiver: Receiver) -> None:
    caller = await start(callbacks={"drop": 1})
    (song,) = await caller.submit()
    await caller.sandbox.settle()
    await asyncio.sleep(0.3)
    assert receiver.bodies == []
    assert (await caller.query("song", song))[0]["status"] == "succeeded"
    (work,) = (await caller.control("GET", "/works"))["data"]
    assert sorted(work["items"][0]["dropped"]) == ORDINARY


async def test_scripted_callbacks(start: Callable[..., Awaitable[Caller]], receiver: Receiver) -> None:
    caller = await start(**PLAIN)
    caller.sandbox.add_rules(
        works=[
            {"kind": "song.generate", "prompt": "lost", "drop": ["audio_complete"], "double": ["wav_complete"]},
            {"kind": "lyrics", "double": ["*"]},
            {"n": 4, "drop": ["*"]},
        ]
    )
    for kind, params, events in (
        ("song.generate", {"prompt": "all is well"}, ORDINARY),
        ("song.generate", {"prompt": "one is lost here"}, ["lrcsections_complete", "wav_complete", "wav_complete"]),
        ("lyrics.generate", {}, ["", ""]),
        ("song.generate", {}, []),
        ("song.generate", {"prompt": "lost again, but the rule is used up"}, ORDINARY),
    ):
        receiver.bodies.clear()
        await caller.submit(kind, **params)
        await caller.sandbox.settle()
        assert sorted(receiver.events("lyrics" if kind == "lyrics.generate" else "songs"), key=str) == events


async def test_scripted_order_and_delay(start: Callable[..., Awaitable[Caller]], receiver: Receiver) -> None:
    caller = await start(scale=2000)
    order = ["wav_complete", "audio_complete", "lrcsections_complete"]
    caller.sandbox.add_rules(works=[{"order": order}, {"order": order, "delay_s": {"wav_complete": 400}}])
    await caller.submit()
    await caller.sandbox.settle()
    assert receiver.events() == order
    wav, audio, _ = receiver.items()
    assert audio["status"] == "main_succeeded", "a late callback still tells what was so in its time"
    assert wav["audio_hi_status"] == "sub_succeeded"
    receiver.bodies.clear()
    await caller.submit()
    await caller.sandbox.settle()
    assert receiver.events() == [*order[1:], order[0]]


async def test_reordered_by_chance(start: Callable[..., Awaitable[Caller]], receiver: Receiver) -> None:
    caller = await start(callbacks={"reorder": 1})
    for _ in range(5):
        receiver.bodies.clear()
        await caller.submit()
        await caller.sandbox.settle()
        assert sorted(receiver.events()) == ORDINARY
        stages = [item["status"] == "main_succeeded" for item in receiver.items()]
        assert stages != sorted(stages, reverse=True) or receiver.events()[0] != "audio_complete"


async def test_delayed_by_chance(start: Callable[..., Awaitable[Caller]], receiver: Receiver) -> None:
    caller = await start(scale=1000, callbacks={"delay": 1, "delay_s": [300, 300]}, durations={"jitter": 0})
    at = now_s()
    await caller.submit("lyrics.generate")
    await caller.sandbox.settle()
    assert receiver.times[0] - at >= 0.3


@pytest.mark.parametrize("scripted", [True, False])
async def test_early_callback_precedes_the_answer(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver, scripted: bool
) -> None:
    caller = await start(scale=1, callbacks={} if scripted else {"early": 1})
    if scripted:
        caller.sandbox.add_rules(works=[{"early": ["audio_complete"]}])
    receiver.wait_s = 0.1
    (song,) = await caller.submit()
    answered_at = now_s()
    assert receiver.events() == ["audio_complete"]
    assert receiver.times[0] <= answered_at - 0.1
    assert receiver.items()[0]["item_id"] == song
    assert (await caller.query("song", song))[0]["status"] == "main_succeeded"


async def test_all_callbacks_can_be_early_and_the_answer_never_come(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver
) -> None:
    caller = await start(scale=1)
    caller.sandbox.add_rules(
        works=[{"early": ["*"], "sparse_final": False}], answers=[{"operation": "submit", "reset": True}]
    )
    with pytest.raises(httpx.TransportError):
        await submission(caller)
    assert sorted(receiver.events()) == ORDINARY
    assert receiver.items()[-1]["status"] == "succeeded"


async def test_callback_is_sent_once_and_its_answer_is_in_the_truth(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver
) -> None:
    caller = await start()
    receiver.answers = [(503, b"no"), (200, b"ok"), (200, b"success")]
    await caller.submit()
    await caller.sandbox.settle()
    attempts = (await caller.control("GET", "/callbacks"))["data"]
    assert [(one["http_status"], one["acknowledged"]) for one in attempts] == [(503, False), (200, False), (200, True)]
    assert [one["event"] for one in attempts] == receiver.events()
    assert [one["digest"] for one in attempts] == [hashlib.sha256(raw).hexdigest() for raw in receiver.raw]
    assert {one["url"] for one in attempts} == {receiver.url}
    truth = caller.sandbox.truth()
    assert (truth["callbacks_tried"], truth["callbacks_acknowledged"]) == (3, 1)


async def test_unreachable_receiver_and_bad_urls_are_noted(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start()
    for url in ("http://127.0.0.1:1/x", "nonsense", "http://[", "ftp://host/x"):
        await caller.submit("lyrics.generate", callback_url=url)
    await caller.sandbox.settle()
    attempts = list(caller.sandbox.callbacks)
    assert len(attempts) == 4
    assert all(attempt.error and attempt.http_status is None and not attempt.acknowledged for attempt in attempts)


async def test_slow_receiver_is_given_up(start: Callable[..., Awaitable[Caller]], receiver: Receiver) -> None:
    caller = await start(delivery={"timeout_s": 0.1})
    receiver.wait_s = 1
    await caller.submit("lyrics.generate")
    await caller.sandbox.settle()
    (attempt,) = caller.sandbox.callbacks
    assert attempt.error == "TimeoutError"


async def test_repeats_when_asked_for(start: Callable[..., Awaitable[Caller]], receiver: Receiver) -> None:
    caller = await start(delivery={"retries": 2, "retry_after_s": 20})
    receiver.answers = [(500, b""), (500, b""), (500, b"")]
    await caller.submit("lyrics.generate")
    await caller.sandbox.settle()
    assert len(receiver.raw) == 3
    assert len(set(receiver.raw)) == 1


async def test_senders_are_bounded(start: Callable[..., Awaitable[Caller]], receiver: Receiver) -> None:
    caller = await start(items_per_submission=12, delivery={"concurrency": 3})
    receiver.wait_s = 0.02
    await caller.submit("lyrics.generate")
    await caller.sandbox.settle()
    assert len(receiver.bodies) == 12
    assert receiver.most_open == 3


# --- answers


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("operation", ["submit", "query", "account"])
async def test_every_business_code(start: Callable[..., Awaitable[Caller]], code: int, operation: str) -> None:
    caller = await start()
    path = {"submit": "/song/generate", "query": "/song/query", "account": "/account/billing"}[operation]
    body = {**SONG, "callback_url": caller.callback_url, "item_ids": ["t2m_1"]}
    caller.sandbox.add_rules(answers=[{"operation": operation, "status": code}])
    answer = await caller.call(path, body)
    assert (answer["status"], answer["message"], answer["data"]) == (code, MESSAGES[code], {})
    assert len(caller.sandbox.works) == 0
    caller.sandbox.add_rules(answers=[{"operation": operation, "status": 499999, "message": "new"}])
    assert (await caller.call(path, body))["message"] == "new"
    usual = {"submit": 200000, "query": 400008, "account": 200000}[operation]
    assert (await caller.call(path, body))["status"] == usual, "a rule is used up"


async def test_rules_match_kind_prompt_and_times(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start()
    caller.sandbox.add_rules(
        answers=[
            {"operation": "submit", "kind": "stems", "status": 400004},
            {"operation": "submit", "prompt": "dragons", "status": 400001, "times": 2},
            {"operation": "query", "item_id": "t2m_x", "status": 400006},
            {"operation": "account", "status": 400001, "times": None},
        ]
    )
    statuses = [(await submission(caller, prompt=prompt)).json()["status"] for prompt in ("dragons", "x", "dragons")]
    assert statuses == [400001, 200000, 400001]
    assert (await submission(caller, prompt="dragons")).json()["status"] == 200000
    path, usual = PATHS["stems.create"]
    assert (await caller.call(path, {**usual, "callback_url": caller.callback_url}))["status"] == 400004
    assert (await caller.call("/song/query", {"item_ids": ["t2m_y"]}))["status"] == 400008
    assert (await caller.call("/song/query", {"item_ids": ["t2m_x"]}))["status"] == 400006
    assert [(await caller.call("/account/billing", {}))["status"] for _ in range(3)] == [400001] * 3
    assert caller.sandbox.script.pending().model_dump()["answers"][0]["operation"] == "account"


@pytest.mark.parametrize("accept", [True, False, None])
@pytest.mark.parametrize("garbage", ["html_200", "html_502", "empty", "no_ids", "truncated"])
async def test_garbage_with_and_without_accepting(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver, garbage: str, accept: bool | None
) -> None:
    caller = await start()
    caller.sandbox.add_rules(answers=[{"operation": "submit", "garbage": garbage, "accept": accept}])
    answer = await submission(caller)
    assert answer.status_code == (502 if garbage == "html_502" else 200)
    if garbage == "no_ids":
        assert (answer.json()["status"], answer.json()["data"]) == (200000, {})
    else:
        with pytest.raises(json.JSONDecodeError):
            answer.json()
    assert (answer.content == b"") == (garbage == "empty")
    assert answer.headers["content-type"].startswith("text/html") == garbage.startswith("html")
    assert len(caller.sandbox.works) == (0 if accept is False else 1)
    await caller.sandbox.settle()
    assert len(receiver.bodies) == 3 * len(caller.sandbox.works)


@pytest.mark.parametrize("accept", [True, False])
@pytest.mark.parametrize(("http_status", "retry_after_s"), [(429, 7), (429, None), (500, None), (503, 2)])
async def test_http_errors_with_and_without_retry_after(
    start: Callable[..., Awaitable[Caller]], http_status: int, retry_after_s: int | None, accept: bool
) -> None:
    caller = await start()
    rule = {"operation": "submit", "http_status": http_status, "retry_after_s": retry_after_s, "accept": accept}
    caller.sandbox.add_rules(answers=[rule])
    answer = await submission(caller)
    assert answer.status_code == http_status
    assert answer.headers.get("retry-after") == (None if retry_after_s is None else str(retry_after_s))
    assert len(caller.sandbox.works) == accept


async def test_http_error_can_carry_an_envelope(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start()
    caller.sandbox.add_rules(answers=[{"operation": "query", "http_status": 500, "status": 400001}])
    answer = await caller.post("/song/query", {"item_ids": ["t2m_1"]})
    assert (answer.status_code, answer.json()["status"]) == (500, 400001)


@pytest.mark.parametrize("operation", ["submit", "query"])
async def test_reset_gives_the_client_no_orderly_end(start: Callable[..., Awaitable[Caller]], operation: str) -> None:
    caller = await start()
    caller.sandbox.add_rules(answers=[{"operation": operation, "reset": True}])
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await (submission(caller) if operation == "submit" else caller.query("song", "t2m_1"))
    assert len(caller.sandbox.works) == (operation == "submit")
    assert [(call.fault, call.http_status) for call in caller.sandbox.calls] == [("reset", 0)]


async def test_hang_holds_the_connection_then_resets_it(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start()
    caller.sandbox.add_rules(answers=[{"operation": "submit", "hang_s": 0.3}])
    at = monotonic()
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await submission(caller)
    assert 0.3 <= monotonic() - at < 1
    assert len(caller.sandbox.works) == 1


async def test_hang_ends_when_the_client_leaves(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start()
    caller.sandbox.add_rules(answers=[{"operation": "submit", "hang_s": 60}])
    with pytest.raises(httpx.ReadTimeout):
        await caller.post("/song/generate", {**SONG, "callback_url": "http://127.0.0.1:1/"}, timeout=0.1)
    await asyncio.sleep(0.1)
    assert [(call.fault, call.http_status) for call in caller.sandbox.calls] == [("hang", 0)]


async def test_late_answer_comes_whole(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start(submit={"late": 1, "late_s": [0.15, 0.2]})
    at = monotonic()
    assert len(await caller.submit()) == 1
    assert 0.15 <= monotonic() - at < 1


async def test_late_query_tells_of_the_time_when_it_was_asked(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start(scale=1)
    (song,) = await caller.submit()
    caller.sandbox.add_rules(answers=[{"operation": "query", "delay_s": 0.1}])
    asked = asyncio.create_task(caller.query("song", song))
    await asyncio.sleep(0.05)
    caller.sandbox.finish()
    assert (await asked)[0]["status"] == "waiting"


async def test_chances_of_answers_follow_the_seed(start: Callable[..., Awaitable[Caller]]) -> None:
    faults = {"codes": {400001: 0.2, 400006: 0.2}, "http": {429: 0.2}, "garbage": 0.2}

    async def answers(seed: int) -> list[str]:
        caller = await start(seed=seed, submit=faults)
        found = [await submission(caller) for _ in range(40)]
        return [str(answer.status_code) + answer.text[:17] for answer in found]

    one = await answers(1)
    assert one == await answers(1)
    assert one != await answers(2)
    for sign in ("400001", "400006", "429", "200000"):
        assert any(sign in answer for answer in one), sign


async def test_a_429_never_hides_an_accepted_submission(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start(submit={"http": {429: 1}, "accepted": 1})
    assert (await submission(caller)).status_code == 429
    assert len(caller.sandbox.works) == 0
    await caller.control("PATCH", "/config", {"submit": {"http": {"503": 1}}})
    assert (await submission(caller)).status_code == 503, "chances per status are replaced, not added to"
    assert len(caller.sandbox.works) == 1


# --- control


async def test_works_and_calls_are_the_truth(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start(scale=1)
    (song,) = await caller.submit(prompt="truth")
    await caller.query("song", song)
    await caller.call("/account/billing", {})
    (work,) = (await caller.control("GET", "/works"))["data"]
    assert work["n"] == 1
    assert work["kind"] == "song.generate"
    assert work["params"] == {**SONG, "prompt": "truth"}
    assert work["callback_url"] == caller.callback_url
    assert work["item_ids"] == [song]
    assert (work["state"], work["finished_at"]) == ("running", None)
    calls = await caller.control("GET", "/calls")
    told = [(call["operation"], call["kind"], call["item_ids"], call["status"]) for call in calls["data"]]
    assert told == [
        ("submit", "song.generate", [song], 200000),
        ("query", "song", [song], 200000),
        ("account", "account", [], 200000),
    ]
    assert all(abs(call["at"] - now_s()) < 5 and call["http_status"] == 200 for call in calls["data"])
    assert calls["summary"]["by_operation"] == {"submit": 1, "query": 1, "account": 1}
    assert calls["summary"]["in_flight"] == 1
    page = await caller.control("GET", "/calls?after=1&limit=1")
    assert ([call["operation"] for call in page["data"]], page["next"]) == (["query"], 2)
    await caller.control("POST", "/finish")
    (work,) = (await caller.control("GET", "/works"))["data"]
    assert work["state"] == "ended"
    assert work["finished_at"] == pytest.approx(now_s(), abs=2)


async def test_finish_sends_what_is_still_to_come_one_after_the_other(
    start: Callable[..., Awaitable[Caller]], receiver: Receiver
) -> None:
    caller = await start(scale=1)
    receiver.wait_s = 0.03
    await caller.submit()
    await caller.control("POST", "/finish")
    await caller.sandbox.settle()
    assert receiver.events()[0] == "audio_complete"
    assert receiver.items()[-1]["status"] == "succeeded"
    assert receiver.most_open == 1, "callbacks of one item do not overtake each other by themselves"
    assert (await caller.control("GET", ""))["in_flight"] == 0


async def test_item_queried_twice_at_once_is_counted(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start(scale=1, query={"late": 1, "late_s": [0.1, 0.1]})
    (song,) = await caller.submit()
    await caller.query("song", song)
    await caller.query("song", song)
    assert caller.sandbox.truth()["items_queried_at_once"] == 0
    await asyncio.gather(caller.query("song", song), caller.query("song", song))
    assert caller.sandbox.truth()["items_queried_at_once"] == 1


async def test_send_raw_and_redeliver(start: Callable[..., Awaitable[Caller]], receiver: Receiver) -> None:
    caller = await start()
    await caller.submit("lyrics.generate")
    await caller.sandbox.settle()
    again = await caller.control("POST", "/callbacks/send", {"redeliver": 1})
    assert again["acknowledged"]
    assert receiver.raw[0] == receiver.raw[1]
    await caller.control("POST", "/callbacks/send", {"url": receiver.url, "body": '{"songs": ['})
    sent = await caller.control("POST", "/callbacks/send", {"url": receiver.url, "body_base64": "/wA="})
    assert receiver.raw[2:] == [b'{"songs": [', b"\xff\x00"]
    assert sent["digest"] == hashlib.sha256(b"\xff\x00").hexdigest()
    await caller.control("POST", "/callbacks/send", {"redeliver": 99}, expect=404)
    await caller.control("POST", "/callbacks/send", {"url": receiver.url}, expect=422)
    await caller.control("POST", "/callbacks/send", {"url": receiver.url, "body_base64": "?"}, expect=400)


async def test_config_is_replaced_and_changed(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start(scale=50, balance=5)
    changed = await caller.control("PATCH", "/config", {"callbacks": {"drop": 1}, "submit": {"codes": {"400006": 1}}})
    assert (changed["scale"], changed["callbacks"]["drop"]) == (50, 1)
    assert (await submission(caller)).json()["status"] == 400006
    replaced = await caller.control("PUT", "/config", {"scale": 70})
    assert (replaced["scale"], replaced["callbacks"]["drop"], replaced["balance"]) == (70, 0, 100_000)
    assert await caller.control("GET", "/config") == replaced
    assert (await submission(caller)).json()["status"] == 200000
    await caller.control("PUT", "/config", {"scales": 1}, expect=422)
    await caller.control("PUT", "/config", [], expect=400)
    assert await caller.control("GET", "/config") == replaced


@pytest.mark.parametrize(
    ("kind", "params", "gone"),
    [
        ("song.generate", {}, "tempolor-latest"),
        ("song.generate", {"model": "Mureka V9"}, "Mureka V9"),
        ("lyrics.generate", {"song_model": "tempolor-latest"}, "tempolor-latest"),
        ("stems.create", {"model": "eight"}, "*"),
    ],
)
async def test_a_model_is_retired_and_returns(
    start: Callable[..., Awaitable[Caller]], kind: str, params: dict[str, str], gone: str
) -> None:
    caller = await start()
    path, usual = PATHS[kind]
    body = {**usual, **params, "callback_url": caller.callback_url}
    (before,) = await caller.submit(kind, **params)
    await caller.control("PATCH", "/config", {"retired_models": [gone]})
    answer = await caller.call(path, body)
    assert (answer["status"], answer["message"]) == (400003, "model not support")
    await caller.submit("midi.create")
    assert (await caller.query(kind.partition(".")[0], before))[0]["item_id"] == before, "queries go on working"
    await caller.control("PATCH", "/config", {"retired_status": 400010, "retired_message": "no such feature"})
    answer = await caller.call(path, body)
    assert (answer["status"], answer["message"]) == (400010, "no such feature")
    await caller.control("PATCH", "/config", {"retired_models": []})
    assert (await caller.call(path, body))["status"] == 200000


@pytest.mark.parametrize(("kind", "http_status"), [("instrumental.generate", 404), ("song.extend", 405)])
async def test_an_operation_goes_and_comes_back(
    start: Callable[..., Awaitable[Caller]], kind: str, http_status: int
) -> None:
    caller = await start()
    path, usual = PATHS[kind]
    body = {**usual, "callback_url": caller.callback_url}
    await caller.control("PATCH", "/config", {"missing_operations": {kind: http_status}})
    assert (await caller.post(path, body)).status_code == http_status
    await caller.submit()
    assert (await caller.control("GET", "/calls"))["summary"]["by_answer"] == {
        f"submit:http_{http_status}": 1,
        "submit:200000": 1,
    }
    await caller.control("PATCH", "/config", {"missing_operations": {}})
    await caller.submit(kind)


async def test_script_over_http_and_its_mistakes(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start()
    rules = {"answers": [{"operation": "submit", "status": 400004, "times": 2}], "works": [{"items": 2}]}
    assert await caller.control("POST", "/script", rules) == {
        "answers": [{"operation": "submit", "status": 400004, "times": 2, "delay_s": 0.0, "reset": False}],
        "works": [{"items": 2, "times": 1}],
    }
    assert (await submission(caller)).json()["status"] == 400004
    assert (await caller.control("GET", "/script"))["answers"][0]["times"] == 1
    await caller.control("POST", "/script", {"answers": [{"operation": "remix"}]}, expect=422)
    await caller.control("POST", "/script", {"works": [{"dorp": ["*"]}]}, expect=422)
    assert (await submission(caller)).json()["status"] == 400004
    assert len((await submission(caller)).json()["data"]["item_ids"]) == 2


async def test_reset_forgets_everything(start: Callable[..., Awaitable[Caller]], receiver: Receiver) -> None:
    caller = await start(scale=1)
    (song,) = await caller.submit()
    caller.sandbox.add_rules(works=[{"items": 2}])
    await caller.control("POST", "/reset", {"scale": 1000})
    assert (await caller.call("/song/query", {"item_ids": [song]}))["status"] == 400008
    assert len(await caller.submit()) == 1
    await caller.sandbox.settle()
    (work,) = (await caller.control("GET", "/works"))["data"]
    assert work["n"] == 1
    assert song not in work["item_ids"]
    assert len(receiver.bodies) == 3
    assert (await caller.control("GET", "/calls"))["summary"]["by_operation"] == {"query": 1, "submit": 1}


async def test_log_is_bounded_but_counters_are_not(start: Callable[..., Awaitable[Caller]]) -> None:
    caller = await start(log_limit=3)
    for _ in range(5):
        await caller.call("/account/billing", {})
    calls = await caller.control("GET", "/calls")
    assert [call["number"] for call in calls["data"]] == [3, 4, 5]
    assert calls["summary"]["total"] == 5


async def test_many_at_once_with_all_faults(start: Callable[..., Awaitable[Caller]], receiver: Receiver) -> None:
    config = all_faults(scale=400, seed=3).model_dump()
    config["submit"].update(hang_s=0.2, late_s=(0.05, 0.2))
    caller = await start(**config)

    gate = asyncio.Semaphore(40)

    async def attempt(number: int) -> None:
        async with gate:
            with suppress(httpx.TransportError):
                await submission(caller, prompt=f"song {number}")

    await asyncio.gather(*(attempt(number) for number in range(80)))
    await caller.sandbox.settle()
    truth = caller.sandbox.truth()
    works = list(caller.sandbox.works)
    assert 60 < len(works) < 80
    assert truth["by_operation"] == {"submit": 80}
    answers = set(truth["by_answer"])
    assert answers >= {"submit:reset", "submit:200000", "submit:http_429"}
    assert any(one.startswith("submit:4000") for one in answers)
    planned = sum(len(item.plan.sends) for work in works for item in work.items)
    assert truth["callbacks_acknowledged"] == truth["callbacks_tried"] == planned == len(receiver.bodies)
    assert any(item.plan.dropped for work in works for item in work.items)
    assert truth["in_flight"] == 0
