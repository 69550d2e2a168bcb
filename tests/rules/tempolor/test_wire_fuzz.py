"""Whatever arrives: reading raises nothing but ``Malformed``, and what it yields can be encoded and stored."""

import json
import random
import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.rules.join import ItemState, canonical, join
from app.rules.observation import Observation, Reading, Source
from app.tempolor import decoding, item_readings
from app.tempolor.answers import Response, Unanswered, read_answer
from app.tempolor.kinds import FAMILIES, Family

DEEP = settings(max_examples=400, deadline=None)
PLACES = 25
"""Cuts and noises for each document: to draw a document takes as long as to read a hundred."""
SYNTAX = b'{}[]",:\\ud80+-.0123eEfalsntru \x00\xff'
NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""As it is escaped in JSON. After an escaped backslash the same letters are a text."""

families = st.sampled_from(list(FAMILIES.values()))
anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(10**60), 10**60),
        st.floats(),
        st.text(st.characters(codec=None), max_size=12),
        st.sampled_from(["https://cdn.example/a", "succeeded", "\x00", "\ud800", "x" * 300, 10**400, -(10**400)]),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
known_fields = st.sampled_from(
    sorted(
        {"item_id", "event", "title", "lyric", "lyrics", "lyrics_sections", "duration", "created_at", "error"}.union(
            *(family.shape.status_fields | family.shape.url_fields for family in FAMILIES.values())
        )
    )
)
ids = st.sampled_from(["i1", "x" * 200, 7, 10**39, "a\x00"]) | anything
items = st.builds(
    lambda fields, item_id: {**fields, "item_id": item_id},
    st.dictionaries(known_fields | st.text(st.characters(codec=None), max_size=5), anything, max_size=6),
    ids,
)


def is_storable(value: Any) -> bool:
    """Both databases refuse NUL and lone surrogates, and JSON knows no NaN."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    text.encode("utf-8")
    return NUL.search(text) is None and "\x00" not in text


def check(reading: Reading) -> None:
    assert 1 <= len(reading.item_id) <= 200
    parts = [reading.item_id, reading.event, reading.statuses, reading.urls, reading.values]
    assert is_storable(parts)
    assert msgspec.json.decode(msgspec.json.encode(parts)) == parts
    assert all(text for text in reading.statuses.values())
    for url in reading.urls.values():
        # One that is no text is kept as JSON, and must be storable when it is read.
        assert url.startswith(("http://", "https://")) or is_storable(json.loads(url))
    assert all(canonical(value) not in ('""', "[]", "{}", "null") for value in reading.values.values())
    state = join(ItemState(), Observation("song", reading, Source.CALLBACK, 1)).state
    assert is_storable([state.statuses, state.urls, state.values, state.large, state.events])


def survives(raw: bytes, family: Family) -> None:
    try:
        found = item_readings.read_callback(raw, family)
    except decoding.Malformed:
        return
    for reading in found.readings:
        check(reading)


@given(st.binary(max_size=60), families)
@example(b"\xef\xbb\xbf{}", FAMILIES["song"])
@example(b"1" * 5000, FAMILIES["song"])
@example(b"-", FAMILIES["song"])
def test_any_bytes_are_read_or_malformed(raw: bytes, family: Family) -> None:
    survives(raw, family)
    assert isinstance(read_answer(Response(200, raw)), Unanswered)


@given(anything, families)
def test_any_json_is_read_or_malformed(document: list[Any] | dict[str, Any] | None, family: Family) -> None:
    survives(json.dumps(document).encode(), family)
    survives(json.dumps({family.list_key: document}).encode(), family)


@given(st.lists(items, max_size=4), families, st.booleans())
def test_any_items_are_read_or_counted(listed: list[dict[str, Any]], family: Family, ascii_only: bool) -> None:
    raw = json.dumps({family.list_key: listed}, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    survives(raw, family)


@given(st.lists(items, max_size=4), families)
def test_each_item_of_a_list_gives_one_reading_or_one_oddity(listed: list[dict[str, Any]], family: Family) -> None:
    found = item_readings.read_items(listed, family)
    passed_over = found.oddities["item_not_object"] + found.oddities["item_without_id"]
    assert len(found.readings) + passed_over == len(listed)
    for reading in found.readings:
        check(reading)


@pytest.mark.slow
@DEEP
@given(st.lists(items, min_size=1, max_size=6), families, st.integers(0, 10**9))
@example(
    [{"item_id": "i1", "stream_url": {"\\u0000": "no NUL, but a backslash and five letters"}}], FAMILIES["midi"], 0
)
def test_any_bytes_in_the_middle_of_a_body_are_survived(
    listed: list[dict[str, Any]], family: Family, seed: int
) -> None:
    raw, rng = json.dumps({family.list_key: listed}).encode(), random.Random(seed)
    for _ in range(PLACES):
        place, length = rng.randrange(len(raw) + 1), rng.randint(0, 8)
        noise = rng.choice([rng.randbytes(length), bytes(rng.choices(SYNTAX, k=length))])
        survives(raw[:place] + noise + raw[place:], family)
        survives(raw[:place], family)


@given(anything)
def test_cleaning_twice_is_cleaning_once(value: list[Any] | dict[str, Any] | float | None) -> None:
    once = item_readings.clean([value], item_readings.Oddities(int))
    oddities = item_readings.Oddities(int)
    assert canonical(item_readings.clean(once, oddities)) == canonical(once)
    assert not oddities


@given(st.text(st.characters(codec=None)))
def test_cleaned_text_is_storable_and_good_text_is_untouched(text: str) -> None:
    cleaned = item_readings.clean_text(text)
    assert is_storable(cleaned)
    assert len(cleaned) == len(text)
    for before, after in zip(text, cleaned, strict=True):
        assert after == ("\ufffd" if before == "\x00" or 0xD800 <= ord(before) <= 0xDFFF else before)


@example(items=[{"item_id": "i1", "odd": "/callbacks/song/" + "A" * 52, "n": 10**45}])
@given(items=st.lists(st.dictionaries(st.text(max_size=6) | known_fields, anything, max_size=5), max_size=3))
def test_what_passes_for_clean_is_what_cleaning_would_leave(items: list[dict[str, Any]]) -> None:
    try:
        raw = msgspec.json.encode({"songs": [{**item, "item_id": "i1"} for item in items]})
    except (ValueError, OverflowError, UnicodeEncodeError):
        return
    uncleaned = msgspec.json.decode(raw)["songs"]
    assert item_readings.read_callback(raw, FAMILIES["song"]) == item_readings.read_items(
        uncleaned, FAMILIES["song"], of_callback=True
    )
