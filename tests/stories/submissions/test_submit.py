"""What a client may send, what becomes of it, and that nothing it sends is lost or repeated."""

import asyncio
import json
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.gateway import PARAMS, SONG, Running, eventually
from tests.support.song_callbacks import assert_problem
from tests.support.start_fixtures import StartGateway, StartSandbox

URL = "https://files.example/a.mp3"
REFUSED = {
    "song.generate": [
        {},
        {"prompt": "x"},
        {"model": "m"},
        {"prompt": "", "model": "m"},
        {"prompt": "x" * 1001, "model": "m"},
        {"prompt": 7, "model": "m"},
        {"prompt": "x", "model": ""},
        {"prompt": "x", "model": None},
        {**SONG, "lyrics": "l" * 3001},
        {**SONG, "lyrics": ["la"]},
        {**SONG, "instrumental": "yes"},
        {**SONG, "instrumental": 1},
        {**SONG, "voice_id": 13},
        {**SONG, "upload_audio_url": "not a url"},
        {**SONG, "style_negative": {}},
    ],
    "song.extend": [
        {"item_id": "t2m_1"},
        {"start_time": 30},
        {"item_id": "", "start_time": 30},
        {"item_id": "t2m_1", "start_time": 9.9},
        {"item_id": "t2m_1", "start_time": 600.1},
        {"item_id": "t2m_1", "start_time": "30"},
        {"item_id": "t2m_1", "start_time": True},
        {"item_id": "t2m_1", "start_time": None},
    ],
    "instrumental.generate": [{"prompt": "x"}, {"model": "m"}, {"prompt": ["x"], "model": "m"}],
    "instrumental.extend": [{"item_id": "1"}, {"start_time": 20}, {"item_id": 1.5, "start_time": 20}],
    "lyrics.generate": [{}, {"prompt": ""}, {"prompt": "x", "song_model": 4}],
    "stems.create": [{}, {"url": ""}, {"url": "ftp://files.example/a"}, {"url": "a.mp3"}, {"url": URL, "model": 1}],
    "midi.create": [{}, {"url": None}, {"url": "javascript:alert(1)"}],
}
TAKEN: dict[str, list[dict[str, Any]]] = {
    "song.generate": [
        {"prompt": "x" * 1000, "model": "Mureka V9", "lyrics": "l" * 3000, "instrumental": False},
        {**SONG, "lyrics": "", "voice_id": "SV000013", "style_negative": "metal", "upload_audio_url": URL},
        {**SONG, "lyrics": None, "voice_id": None, "instrumental": None, "action": "upload_cover"},
        {**SONG, "new_field": {"deep": [1, 2.5, None, True, "ü🎵"]}, "seed": 2**53, "": "", "n": 1e-7},
        {"prompt": "🎵" * 1000, "model": "a model of next year"},
    ],
    "song.extend": [{"item_id": "t2m_1", "start_time": 10}, {"item_id": "t2m_1", "start_time": 600.0, "lyrics": ""}],
    "instrumental.generate": [{"prompt": "120 BPM, C minor", "model": "TemPolor i4", "length": 90}],
    "instrumental.extend": [{"item_id": "123", "start_time": 10.5}],
    "lyrics.generate": [{"prompt": "rain", "song_model": None}, {"prompt": "rain", "song_model": "tempolor-latest"}],
    "stems.create": [{"url": "https://files.example/ä b.mp3?sig=%2F+x", "model": "m", "parts": 4}],
    "midi.create": [{"url": URL}],
}


async def _post(gateway: Running, body: Any, **headers: Any) -> httpx.Response:
    return await gateway.api.post("/v1/tasks", json=body, headers=headers)


@on_sqlite
@pytest.mark.parametrize("kind", sorted(REFUSED))
async def test_params_are_checked_by_their_kind(gateway: Running, db: Direct, kind: str) -> None:
    before = await db.everything()
    for params in REFUSED[kind]:
        answer = await _post(gateway, {"kind": kind, "params": params})
        problem = assert_problem(answer, 422, "invalid_request")
        assert problem["errors"], params
        assert all(fault["path"].startswith("params.") for fault in problem["errors"]), problem
    assert await db.everything() == before


@on_sqlite
async def test_params_reach_the_vendor_as_they_came_unknown_fields_too(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=0.1)
    gateway = await start_gateway(sandbox, submit_max_in_flight=100)
    given = [(kind, params) for kind, many in TAKEN.items() for params in many]
    for kind, params in given:
        answer = await _post(gateway, {"kind": kind, "params": params})
        assert answer.status_code == 202, answer.text
        assert answer.json()["params"] == params

    async def all_sent() -> bool:
        return len(sandbox.works) == len(given)

    await eventually(all_sent)
    as_text = sorted(json.dumps([work.kind.name, work.params], sort_keys=True) for work in sandbox.works)
    assert as_text == sorted(json.dumps([kind, params], sort_keys=True) for kind, params in given)


@on_sqlite
async def test_the_callback_url_is_the_gateways(gateway: Running, db: Direct) -> None:
    before = await db.everything()
    for value in ("https://evil.example/", "", None):
        body = {"kind": "song.generate", "params": {**SONG, "callback_url": value}}
        problem = assert_problem(await _post(gateway, body), 422, "invalid_request")
        assert [fault["path"] for fault in problem["errors"]] == ["params.callback_url"]
    assert await db.everything() == before


@on_sqlite
async def test_the_envelope_is_checked_and_every_fault_is_told(gateway: Running, db: Direct) -> None:
    good = {"kind": "song.generate", "params": SONG}
    bad = [
        {},
        {"kind": "song.generate"},
        {"params": SONG},
        {**good, "kind": "song"},
        {**good, "kind": "song.external"},
        {**good, "kind": 7},
        {**good, "params": []},
        {**good, "params": None},
        {**good, "reference": ""},
        {**good, "reference": "r" * 256},
        {**good, "reference": 17},
        {**good, "metadata": []},
        {**good, "webhook_url": "not a url"},
        {**good, "webhook_url": "ftp://files.example/"},
        {**good, "webhook_url": "https://h.example/" + "x" * 3000},
        {**good, "status": "succeeded"},
        {**good, "id": "x"},
    ]
    before = await db.everything()
    for body in bad:
        assert_problem(await _post(gateway, body), 422, "invalid_request")
    for body in ([good], "x", 1, [None]):
        assert_problem(await _post(gateway, body), 422)
    several = await _post(gateway, {"kind": "nonsense", "params": 1, "reference": 1})
    assert {fault["path"] for fault in several.json()["errors"]} >= {"kind", "params", "reference"}
    assert await db.everything() == before


async def test_a_task_is_answered_as_it_was_given(gateway: Running) -> None:
    body = {
        "kind": "song.generate",
        "params": {**SONG, "z": 1, "a": 2},
        "reference": "r" * 255,
        "metadata": {"user": 7, "note": "Zoë 🎵", "nested": {"a": [None, 1.5]}},
        "webhook_url": "https://hooks.example/tempolor?x=1",
    }
    answer = await _post(gateway, body)
    assert answer.status_code == 202
    task = answer.json()
    assert answer.headers["location"] == f"/v1/tasks/{task['id']}"
    assert {name: task[name] for name in body} == body
    assert list(task["params"]) == list(body["params"])
    assert UUID(task["id"]).version == 7
    nothing_yet = ("error", "finished_at", "playable_at", "submitted_at", "retry_of")
    assert all(task[name] is None for name in nothing_yet)
    assert (task["status"], task["version"], task["items"], task["client"]) == ("queued", 1, [], "bootstrap")
    assert task["created_at"].endswith("Z")
    assert await gateway.task(task["id"]) == task


@on_sqlite
async def test_params_and_metadata_have_64_kib_together(gateway: Running, db: Direct) -> None:
    def body(size: int) -> dict[str, Any]:
        frame = len(json.dumps({"prompt": "p", "model": "m", "x": ""}, separators=(",", ":")))
        frame += len(json.dumps({"y": ""}, separators=(",", ":")))
        half = (size - frame) // 2
        params = {"prompt": "p", "model": "m", "x": "x" * half}
        return {"kind": "song.generate", "params": params, "metadata": {"y": "y" * (size - frame - half)}}

    assert (await _post(gateway, body(64 * 1024))).status_code == 202
    before = await db.everything()
    answer = await _post(gateway, body(64 * 1024 + 1))
    assert answer.status_code in (413, 422)
    assert_problem(answer, answer.status_code)
    # Counted in bytes, not in characters.
    wide = {"kind": "song.generate", "params": SONG, "metadata": {"y": "🎵" * 17_000}}
    assert (await _post(gateway, wide)).status_code in (413, 422)
    assert await db.everything() == before
    huge = await gateway.api.post("/v1/tasks", content=b" " * (9 * 1024 * 1024))
    assert_problem(huge, 413, "payload_too_large")


async def test_an_idempotency_key_sent_twice_makes_one_task(gateway: Running, db: Direct) -> None:
    body = {"kind": "song.generate", "params": SONG, "metadata": {"a": 1, "b": 2}}
    first = await _post(gateway, body, **{"Idempotency-Key": "order-17"})
    assert (first.status_code, first.headers.get("idempotent-replayed")) == (202, None)
    reordered = json.dumps({"metadata": {"b": 2, "a": 1}, **body}, indent=3)
    again = await gateway.api.post("/v1/tasks", content=reordered, headers={"Idempotency-Key": "order-17"})
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    other = await _post(gateway, {**body, "reference": "x"}, **{"Idempotency-Key": "order-17"})
    assert_problem(other, 422, "idempotency_mismatch")
    assert len(await db.rows("SELECT id FROM tasks")) == 1
    # It answers the task as it is now; another key, and none, make another task.
    task_id = UUID(first.json()["id"])
    await gateway.call_back("song", {"songs": [{"item_id": "t2m_1", "status": "running"}]}, task_id)
    assert (await _post(gateway, body, **{"Idempotency-Key": "order-17"})).json()["status"] == "running"
    assert (await _post(gateway, body, **{"Idempotency-Key": "ORDER-17"})).status_code == 202
    assert (await _post(gateway, body)).status_code == 202
    assert len(await db.rows("SELECT id FROM tasks")) == 3


async def test_ten_at_once_with_one_key_make_one_task(gateway: Running, db: Direct) -> None:
    body = {"kind": "song.generate", "params": SONG}
    for key in ("a", "b", "c"):
        answers = await asyncio.gather(*(_post(gateway, body, **{"Idempotency-Key": key}) for _ in range(10)))
        assert sorted(answer.status_code for answer in answers) == [200] * 9 + [202]
        assert len({answer.json()["id"] for answer in answers}) == 1
    # And with other bodies beside it, still one.
    answers = await asyncio.gather(
        *(_post(gateway, {**body, "reference": f"{n % 2}"}, **{"Idempotency-Key": "d"}) for n in range(10))
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [202] + [422] * 5
    assert len(await db.rows("SELECT id FROM tasks")) == 4


@on_sqlite
async def test_an_idempotency_key_is_a_clients_own_and_forgets_what_was_refused(gateway: Running, db: Direct) -> None:
    other = (await gateway.api.post("/v1/clients", json={"name": "studio"})).json()["api_key"]
    body = {"kind": "song.generate", "params": SONG}
    mine = await _post(gateway, body, **{"Idempotency-Key": "k"})
    theirs = await _post(gateway, body, **{"Idempotency-Key": "k", "Authorization": f"Bearer {other}"})
    assert (mine.status_code, theirs.status_code) == (202, 202)
    assert mine.json()["id"] != theirs.json()["id"]
    refused = await _post(gateway, {**body, "kind": "nonsense"}, **{"Idempotency-Key": "fresh"})
    assert refused.status_code == 422
    assert (await _post(gateway, body, **{"Idempotency-Key": "fresh"})).status_code == 202
    for key, status in (("", 422), ("x" * 256, 422), ("x" * 255, 202), ("x", 202), ("ключ".encode(), 202)):
        answer = await _post(gateway, body, **{"Idempotency-Key": key})
        assert (key, answer.status_code) == (key, status)


@on_sqlite
async def test_a_misspelled_param_is_passed_on_and_warned_of(gateway: Running) -> None:
    task = await gateway.submit(params={**SONG, "promt": "x", "voiceId": "y", "seed": 7})
    assert task["params"] == {**SONG, "promt": "x", "voiceId": "y", "seed": 7}
    assert task["warnings"] == ["unknown_param:promt", "unknown_param:voiceId"]
    assert (await gateway.task(task["id"]))["warnings"] == task["warnings"]
    assert (await gateway.submit())["warnings"] == []


@pytest.mark.parametrize("kind", sorted(PARAMS))
@on_sqlite
async def test_every_kind_is_taken(gateway: Running, kind: str) -> None:
    task = await gateway.submit(kind)
    assert (task["kind"], task["params"]) == (kind, PARAMS[kind])
