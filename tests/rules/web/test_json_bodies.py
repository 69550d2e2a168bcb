"""The JSON of a request's body: what is read, what is refused and in which words, and that it never takes long."""

import json
import tracemalloc
from collections.abc import Callable
from typing import Any, get_args

import pydantic_core
import pytest

from app.errors import InvalidJson, InvalidRequest, PayloadTooLarge
from app.runtime.egress import EgressPolicy
from app.submissions.accept_task import ListDigest, digest_of
from app.submissions.check_requests import MOST_BATCH_BYTES, MOST_GIVEN_BYTES, MOST_TASK_BYTES, _tasks_in, check_task
from app.web.decoding import decode
from app.web.problems import message_of
from tests.support.counted_calls import counted_calls

HALF = b"\\ud83c"
"""Half of an emoji, as JavaScript writes a text that was cut."""


@pytest.mark.parametrize("value", [{"a": 1}, [], "x", 1.5, None, {"ü": ["🎵", {"b": None}]}, "\\u0000", "\\\\ud83c"])
def test_what_is_json_is_read_with_a_byte_order_mark_too(value: Any) -> None:
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
        (b'{"a":"' + HALF + b'" 1}', "character 14"),
    ],
)
def test_what_is_no_json_is_told_with_its_place(raw: bytes, told: str) -> None:
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
def test_half_of_a_character_and_a_nul_are_refused_by_their_place(raw: bytes, path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(raw)
    assert [one for one, _ in caught.value.faults] == [path]
    with pytest.raises(InvalidRequest) as caught:
        decode(raw, ("tasks", 7))
    assert [one for one, _ in caught.value.faults] == [f"tasks.7.{path}"]


@pytest.mark.parametrize("raw", [b"1e400", b"9" * 5000, b'{"a":[-1e999]}', b"[" * 33 + b"]" * 33, b"[" * 100_000])
def test_numbers_out_of_range_and_deep_nesting_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode(raw)


def test_nesting_has_one_limit() -> None:
    assert decode(b"[" * 32 + b"1" + b"]" * 32)
    with pytest.raises(InvalidRequest):
        decode(b'{"a":' * 33 + b"1" + b"}" * 33)


def test_lists_and_objects_are_bounded_in_number() -> None:
    for one in (b"[],", b"{},", b'{"a":[]},'):
        assert decode(b"[" + one * 2000 + b"0]")
        with pytest.raises(InvalidRequest):
            decode(b"[" + one * 5001 + b"0]")
    assert decode(b"[" + b"0," * 60_000 + b"0]")


def test_the_digest_of_a_list_is_that_of_its_document() -> None:
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


def _calls_until_refused(read: Callable[[], object]) -> int:
    with counted_calls() as calls, pytest.raises((InvalidRequest, InvalidJson, PayloadTooLarge)):
        read()
    return sum(calls.values())


def _refused_undecoded(body: bytes) -> None:
    """Decoded it were seconds, and a hundred megabytes; taken apart in Python, millions of calls."""
    tracemalloc.start()
    try:
        calls = _calls_until_refused(lambda: _tasks_in(body))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert calls < 1000
    assert most < MEGABYTE


MEGABYTE = 1024 * 1024


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("unit", UNITS)
def test_a_batch_is_refused_before_it_is_decoded(unit: bytes, shape: str) -> None:
    before, after = SHAPES[shape]
    _refused_undecoded(_filled(before, unit, after, MOST_BATCH_BYTES))


@pytest.mark.parametrize("what", OTHERS)
def test_and_so_is_one_that_is_large_in_another_way(what: str) -> None:
    _refused_undecoded(OTHERS[what]())


@pytest.mark.parametrize("value", [b"[]", b"[0,0,0,0,0]", b"[" + b"0," * 99 + b"0]"], ids=len)
def test_a_name_that_comes_a_million_times_is_taken_apart_once(value: bytes) -> None:
    _refused_undecoded(_filled(b"{", b'"tasks":%s,' % value, b',"tasks":[]}', MOST_BATCH_BYTES))
    # Were the first ones taken apart too, what no batch can be would be refused.
    assert [bytes(task) for task in _tasks_in(b'{"tasks":7,"tasks":[%s0],"tasks":[1]}' % (b"0," * 100))] == [b"1"]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("before", [b"[", b'{"kind":"song.generate","params":{"prompt":"x","model":"m","x":['], ids=len)
def test_a_task_that_is_too_large_is_read_in_few_steps(unit: bytes, before: bytes) -> None:
    """A look at each of its values, at most. Numbers that take the decoder long are not given to it."""
    body = _filled(before, unit, b"]" if before == b"[" else b"]}}", 3 * MOST_GIVEN_BYTES // 2)
    calls = _calls_until_refused(lambda: check_task(decode(body), EgressPolicy()))
    assert calls < (100 if unit == b"1e308," else len(body))


def test_a_batch_is_taken_apart_without_a_second_copy_of_it() -> None:
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


def test_every_kind_of_fault_has_a_word() -> None:
    for kind in get_args(pydantic_core.core_schema.ErrorType):
        assert message_of(
            {"type": kind, "ctx": {"error": ValueError("ours"), "expected": "a", "ge": 1, "le": 2} | BOUNDS}
        )


BOUNDS = {"min_length": 1, "max_length": 2, "expected_schemes": "http"}
