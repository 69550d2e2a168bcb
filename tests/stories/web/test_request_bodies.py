"""The JSON of a request's body: what is read, what is refused and in which words, and that it never takes long."""

import gzip
import json
import time
import tracemalloc
from collections.abc import Callable
from typing import get_args

import pydantic_core
import pytest

from app.api.bodies import SMALL_BYTES
from app.api.decoding import decode
from app.api.intake import MOST_BATCH_BYTES, MOST_TASK_BYTES, _tasks_in, check_task
from app.api.words import word_of
from app.errors import InvalidJson, InvalidRequest, PayloadTooLarge
from app.flows.accept import ListDigest, digest_of
from tests.support.bodies import assert_problem, raw_body, song
from tests.support.databases import on_sqlite
from tests.support.gateway import SONG

TASK = {"kind": "song.generate", "params": SONG}
HALF = b"\\ud83c"
"""Half of an emoji, as JavaScript writes a text that was cut."""


async def _post(gateway, content, path="/v1/tasks", **headers):
    return await gateway.api.post(path, content=content, headers=headers)


@pytest.mark.parametrize("value", [{"a": 1}, [], "x", 1.5, None, {"ü": ["🎵", {"b": None}]}, "\\u0000", "\\\\ud83c"])
def test_what_is_json_is_read_with_a_byte_order_mark_too(value):
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=2)):
        assert decode(text.encode()) == decode(b"\xef\xbb\xbf" + text.encode()) == value


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "too soon"),
        (b"{", "too soon"),
        (b'{"a":1', "too soon"),
        (b"kind=song", "byte 0"),
        (b'{"a":NaN}', "byte 5"),
        (b"[1,]", "byte 3"),
        (b"{}x", "byte 3"),
        (b'"\xff"', "not UTF-8"),
        (b'["\xe6\xb8"]', "not UTF-8"),
        (json.dumps("x").encode("utf-16"), "byte 0"),
        (b'{"a":"' + HALF + b'",}', "character 14"),
    ],
)
def test_what_is_no_json_is_told_with_its_place(raw, told):
    with pytest.raises(InvalidJson) as caught:
        decode(raw)
    assert told in caught.value.detail


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b'{"params":{"prompt":"party ' + HALF + b'"}}', "params.prompt"),
        (b'{"a":[{"b":["x","' + HALF + b'x"]}]}', "a.0.b.1"),
        (b'["\\udc00\\ud83c"]', "0"),
        (b'{"a":{"' + HALF + b'":1}}', "a"),
        (b'\xef\xbb\xbf{"a":"\\\\\\\\' + HALF + b'"}', "a"),
        (b'{"a":"x\\u0000"}', "a"),
        (b'{"a":[1,"\\u0000"]}', "a.1"),
    ],
)
def test_half_of_a_character_and_a_nul_are_refused_by_their_place(raw, path):
    with pytest.raises(InvalidRequest) as caught:
        decode(raw)
    assert [one for one, _ in caught.value.faults] == [path]
    with pytest.raises(InvalidRequest) as caught:
        decode(raw, ("tasks", 7))
    assert [one for one, _ in caught.value.faults] == [f"tasks.7.{path}"]


@pytest.mark.parametrize("raw", [b"1e400", b"9" * 5000, b'{"a":[-1e999]}', b"[" * 33 + b"]" * 33, b"[" * 100_000])
def test_numbers_out_of_range_and_deep_nesting_are_refused(raw):
    with pytest.raises(InvalidRequest):
        decode(raw)


def test_nesting_has_one_limit():
    assert decode(b"[" * 32 + b"1" + b"]" * 32)
    with pytest.raises(InvalidRequest):
        decode(b'{"a":' * 33 + b"1" + b"}" * 33)


def test_lists_and_objects_are_bounded_in_number():
    for one in (b"[],", b"{},", b'{"a":[]},'):
        assert decode(b"[" + one * 2000 + b"0]")
        with pytest.raises(InvalidRequest):
            decode(b"[" + one * 5001 + b"0]")
    assert decode(b"[" + b"0," * 60_000 + b"0]")


def test_the_digest_of_a_list_is_that_of_its_document():
    for tasks in ([], [1], [{"b": 1, "a": "ü"}, None, ["x", 1.5]]):
        digest = ListDigest("tasks")
        for one in tasks:
            digest.add(one)
        assert digest.made() == digest_of({"tasks": tasks})


def _filled(before: bytes, unit: bytes, after: bytes, size: int) -> bytes:
    return before + (unit * ((size - len(before) - len(after)) // len(unit))).removesuffix(b",") + after


UNITS = [b"[],", b"{},", b"0,", b'"",', b'"\\u0000",', b"[[]],", b"1e308,", b'{"a":0},', b'"\\ud83c",']
SHAPES = {"tasks": (b'{"tasks":[', b"]}"), "one task": (b'{"tasks":[[', b"]]}"), "no batch": (b"[", b"]")}
OTHERS = {
    "many names": lambda: b"{" + _names() + b"}",
    "many names in a task": lambda: b'{"tasks":[{' + _names() + b"}]}",
    "deep": lambda: b'{"tasks":' + b"[" * 4_000_000,
    "a long number": lambda: b'{"tasks":[' + b"9" * 8_000_000 + b"]}",
    "escapes": lambda: b'{"tasks":["' + b"\\\\" * 4_000_000 + HALF + b'"]}',
}


def _names() -> bytes:
    return b",".join(b'"%d":0' % n for n in range(600_000))


def _processor_s(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


def _refused_within(times: float, read: Callable[[], object]) -> None:
    """In so many times of what it takes to read a quarter of a megabyte of numbers on the same machine at the same
    moment (some 5 ms): a quick machine is not needed for it, nor an idle one. The best of three tries."""

    def refused() -> None:
        with pytest.raises((InvalidRequest, InvalidJson, PayloadTooLarge)):
            read()

    took: list[float] = []
    while len(took) < 3 and not (took and took[-1] < times):
        took.append(_processor_s(refused) / _processor_s(lambda: json.loads(_NUMBERS)))
    assert min(took) < times


_NUMBERS = b"[" + b"0," * 131_000 + b"0]"


def _refused_at_once(body: bytes) -> None:
    """Decoded it were seconds."""
    _refused_within(100, lambda: _tasks_in(body))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("unit", UNITS)
def test_a_batch_is_refused_before_it_is_decoded(unit, shape):
    before, after = SHAPES[shape]
    _refused_at_once(_filled(before, unit, after, MOST_BATCH_BYTES))


@pytest.mark.parametrize("what", OTHERS)
def test_and_so_is_one_that_is_large_in_another_way(what):
    _refused_at_once(OTHERS[what]())


@pytest.mark.parametrize("value", [b"[]", b"[0,0,0,0,0]", b"[" + b"0," * 99 + b"0]"], ids=len)
def test_a_name_that_comes_a_million_times_is_taken_apart_once(value):
    body = _filled(b"{", b'"tasks":%s,' % value, b',"tasks":[]}', MOST_BATCH_BYTES)
    _refused_within(12, lambda: _tasks_in(body))


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("before", [b"[", b'{"kind":"song.generate","params":{"prompt":"x","model":"m","x":['], ids=len)
def test_a_task_of_the_largest_size_is_read_in_no_time(unit, before):
    body = _filled(before, unit, b"]" if before == b"[" else b"]}}", MOST_TASK_BYTES)
    _refused_within(80, lambda: check_task(decode(body)))


def test_a_batch_is_taken_apart_without_a_second_copy_of_it():
    task = b'{"x":"' + b"x" * (MOST_TASK_BYTES - 8) + b'"}'
    body = b'{"tasks":[' + b",".join([task] * 30) + b"]}"
    tracemalloc.start()
    try:
        tasks = _tasks_in(body)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {bytes(one) for one in tasks} == {task}
    assert most < MOST_TASK_BYTES


@on_sqlite
async def test_every_route_reads_what_it_is_for_and_no_more(gateway):
    task = await gateway.submit()
    small = [
        "/v1/clients",
        "/v1/clients/bootstrap/key",
        "/v1/notifications/test",
        "/v1/notifications/redeliver",
        "/v1/submissions/hold",
        "/v1/submissions/recover",
        f"/v1/tasks/{task['id']}/resolve",
    ]
    limits = dict.fromkeys(small, SMALL_BYTES) | {
        "/v1/tasks": MOST_TASK_BYTES,
        "/v1/tasks/batch": MOST_BATCH_BYTES,
        "/v1/tasks/adopt": 128 * 1024,
    }
    documented = (await gateway.api.get("/openapi.json")).json()["paths"]
    with_body = {path for path, methods in documented.items() if "requestBody" in methods.get("post", {})}
    assert {path.replace("{task_id}", task["id"]).replace("{name}", "bootstrap") for path in with_body} == limits.keys()
    for path, most in limits.items():

        async def chunks(size):
            yield b" " * size

        for content in (b" " * (most + 1), chunks(most + 1)):
            assert_problem(await _post(gateway, content, path), 413, "payload_too_large")
        if path != "/v1/clients/bootstrap/key":
            assert_problem(await _post(gateway, b" " * most, path), 400, "invalid_json")


@on_sqlite
async def test_a_task_of_a_batch_has_the_limit_of_a_task(gateway, db):
    before = await db.everything()
    large = json.dumps({**TASK, "metadata": {"x": "x" * MOST_TASK_BYTES}}).encode()
    for path, body in (("/v1/tasks", large), ("/v1/tasks/batch", b'{"tasks":[%s,%s]}' % (b"{}", large))):
        assert_problem(await _post(gateway, body, path), 413, "payload_too_large")
    assert await db.everything() == before
    # As much as may be given, every character of it an escape.
    most = {**TASK, "metadata": {"x": "é" * 32_000}}
    assert (await _post(gateway, json.dumps(most).encode())).status_code == 202
    faulty = json.dumps({"tasks": [{f"x{n}": 0 for n in range(500)}] * 100}).encode()
    problem = assert_problem(await _post(gateway, faulty, "/v1/tasks/batch"), 422, "invalid_request")
    assert len(problem["errors"]) == 100


@on_sqlite
async def test_a_body_that_came_as_gzip_is_unpacked_within_its_limit(gateway, db):
    plain = json.dumps(TASK).encode()
    for encoding, content, status in (
        ("gzip", gzip.compress(plain), 202),
        ("X-GZIP", gzip.compress(plain), 202),
        ("identity", plain, 202),
        # Who names one and does not use it.
        ("gzip", plain, 202),
        ("utf-8", plain, 202),
        ("br", gzip.compress(plain), 415),
        ("deflate", gzip.compress(plain), 415),
        ("gzip, gzip", gzip.compress(gzip.compress(plain)), 415),
        ("gzip", gzip.compress(gzip.compress(plain)), 415),
        ("gzip", gzip.compress(plain)[:-5], 415),
        ("gzip", gzip.compress(plain) + b"x", 415),
        ("gzip", gzip.compress(b"kind=song"), 415),
        ("gzip", gzip.compress(b" " * (MOST_TASK_BYTES + 1)), 413),
        ("gzip", gzip.compress(b" " * 100_000_000), 413),
        ("", b"kind=song", 400),
    ):
        answer = await _post(gateway, content, **{"Content-Encoding": encoding})
        assert (encoding, content[:30], answer.status_code) == (encoding, content[:30], status)
        if status != 202:
            assert_problem(answer, status)
    assert len(await db.rows("SELECT id FROM tasks")) == 5
    batch = gzip.compress(json.dumps({"tasks": [TASK]}).encode())
    assert (await _post(gateway, batch, "/v1/tasks/batch", **{"Content-Encoding": "gzip"})).status_code == 202


@on_sqlite
async def test_a_callback_that_came_as_gzip_is_unpacked_and_one_that_cannot_be_is_kept(gateway):
    admission = gateway.gateway.ingest.admission
    url = gateway.callback_url("song")
    plain = json.dumps(song("t2m_1")).encode()
    for item_id, encoding, pack, status in (
        ("t2m_1", "gzip", gzip.compress, 200),
        ("t2m_2", "gzip", lambda body: body, 200),
        ("t2m_3", "utf-8", lambda body: body, 200),
        ("t2m_4", "br", gzip.compress, 400),
        ("t2m_5", "gzip", lambda body: gzip.compress(body)[:-9], 400),
        ("t2m_6", "gzip", lambda body: gzip.compress(body + b" " * 1_048_576), 413),
    ):
        body = plain.replace(b"t2m_1", item_id.encode())
        answer = await gateway.api.post(url, content=pack(body), headers={"Content-Encoding": encoding})
        assert (item_id, answer.status_code) == (item_id, status)
        found = await gateway.api.get(f"/v1/items/{item_id}")
        assert found.status_code == (200 if status == 200 else 404)
    kept = (await gateway.api.get("/v1/callbacks")).json()["data"]
    assert [one["disposition"] for one in kept] == ["malformed"] * 2 + ["applied"] * 3
    # What the log keeps can be read, and replayed.
    assert await raw_body(gateway, kept[-1]["id"]) == plain
    assert (admission._bytes, admission._entries) == (0, 0)


@on_sqlite
async def test_no_word_of_a_refusal_is_the_validating_librarys(gateway):
    """Its words change with its releases. Each kind of fault that our models can have is in the table."""
    url = f"/v1/tasks/{(await gateway.submit())['id']}"
    odd = [None, True, 1, 1.5, "", "x", "x" * 9000, "\x7f", [], [1], {}, {"a": 1}, "2026-13-01T00:00:00Z", 10**30]
    bodies = [
        ("/v1/tasks", ["kind", "params", "reference", "metadata", "webhook_url", "what"], {}),
        ("/v1/tasks/adopt", ["family", "item_ids", "client"], {"family": "song", "item_ids": ["x"]}),
        (f"{url}/resolve", ["item_id", "not_sent"], {}),
        ("/v1/clients", ["name", "admin"], {}),
        ("/v1/clients/nobody/key", ["overlap_s"], {}),
        ("/v1/notifications/test", ["url"], {}),
        ("/v1/notifications/redeliver", ["since", "client", "dry_run"], {}),
        ("/v1/submissions/hold", ["reason"], {}),
        ("/v1/submissions/recover", ["sent_since", "accepted_before", "dry_run"], {}),
    ]
    kinds = {
        "song.generate": ["prompt", "model", "lyrics", "instrumental", "upload_audio_url"],
        "song.extend": ["item_id", "start_time"],
        "stems.create": ["url", "model"],
    }
    refused = []
    for path, names, others in bodies:
        for name in names:
            for value in odd:
                refused.append(await gateway.api.post(path, json={**others, name: value}))
    for kind, names in kinds.items():
        for name in names:
            for value in [*odd, "ftp://x/y", "http://", 5, 1e9]:
                refused.append(await gateway.api.post("/v1/tasks", json={"kind": kind, "params": {name: value}}))
    for query in (
        "limit=x", "limit=0", "limit=201", "limit=1.5", f"limit={10**30}", "status=x", "created_after=x",
        "created_after=2026-01-01T00:00:00", "created_after=2026-13-01T00:00:00Z",
        "created_after=9999-12-31T23:59:59-23:00",
    ):  # fmt: skip
        refused.append(await gateway.api.get(f"/v1/tasks?{query}"))
    for query in ("wait=x", "wait=-1", "wait=nan", "until=x"):
        refused.append(await gateway.api.get(f"{url}?{query}"))
    refused += [await gateway.api.get(f"/v1/callbacks?{query}") for query in ("task_id=x", "disposition=x")]
    refused.append(await gateway.api.get("/v1/notifications?status=x"))
    told = {fault["message"] for one in refused if one.status_code == 422 for fault in one.json().get("errors", ())}
    assert len(told) > 20
    theirs = ("Input should", "Value error", "should have", "valid ", "Field required", "Extra inputs", "not permitted")
    assert [word for word in told if any(part in word for part in theirs)] == []
    assert "it is not valid" not in told


def test_every_kind_of_fault_has_a_word():
    for kind in get_args(pydantic_core.core_schema.ErrorType):
        assert word_of({"type": kind, "ctx": {"error": ValueError("ours"), "expected": "a", "ge": 1, "le": 2} | BOUNDS})


BOUNDS = {"min_length": 1, "max_length": 2, "expected_schemes": "http"}
