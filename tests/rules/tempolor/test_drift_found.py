"""What is told as drift: names that nobody knew, and nothing of what is documented."""

import json
from typing import Any

import pytest

from app.tempolor import item_readings
from app.tempolor.decoding import Malformed
from app.tempolor.drift import DriftKind, Finding, of_answer, of_callback, of_request
from app.tempolor.kinds import FAMILIES, INSTRUMENTAL, LYRICS, SONG, STEMS, Family
from tests.rules.tempolor.samples import AUDIO_COMPLETE

READ = 33
"""Fields that nobody knows which are read of an item: as many as are kept, and one that tells of the others."""
USUAL = [(b"host", b"gw"), (b"content-type", b"application/json"), (b"user-agent", b"okhttp"), (b"x-real-ip", b"1")]


def _callback(
    family: Family, document: dict[str, Any] | list[dict[str, str]] | int, indent: int | None = None
) -> list[Finding]:
    body = json.dumps(document, indent=indent).encode()
    try:
        readings = item_readings.read_callback(body, family).readings
    except Malformed:
        readings = []
    return of_callback(family, body, readings)


def test_what_is_documented_is_no_drift() -> None:
    assert _callback(SONG, {"songs": [AUDIO_COMPLETE]}) == []
    assert _callback(SONG, {"songs": [AUDIO_COMPLETE]}, indent=2) == []
    item = {"item_id": "a", "status": "main_succeeded", "event": "audio_chunk", "streamAudioUrl": "https://a.example/"}
    more = {"lyrics_disp": "x", "lrc_mv": "y", "audio_bgm_url": "https://a.example/b", "audio_hi_status": "sub_failed"}
    assert _callback(INSTRUMENTAL, {"instrumentals": [item | more]}) == []
    assert _callback(LYRICS, {"lyrics": [{"item_id": "a", "status": "failed", "title": "t", "lyric": "l"}]}) == []
    for family in FAMILIES.values():
        answer = {"status": 200000, "message": "success", "request_id": "r", "data": {family.list_key: []}}
        assert of_answer(family.name, "query", ("data", family.list_key), answer) == []


@pytest.mark.parametrize(
    ("item", "found"),
    [
        ({"bpm": 120, "tags_v2": [1]}, [(DriftKind.FIELD, "bpm"), (DriftKind.FIELD, "tags_v2")]),
        ({"event": "cover_complete"}, [(DriftKind.EVENT, "cover_complete")]),
        ({"status": "pending"}, [(DriftKind.STATUS, "status pending")]),
        ({"audio_hi_status": "succeeded"}, [(DriftKind.STATUS, "audio_hi_status succeeded")]),
        ({"x" * 300: 1}, [(DriftKind.FIELD, "x" * 200)]),
        ({f"f{n:03}": 1 for n in range(100)}, [(DriftKind.FIELD, f"f{n:03}") for n in range(READ)]),
    ],
)
def test_what_an_item_has_that_nobody_knew(item: dict[str, Any], found: list[tuple[DriftKind, str]]) -> None:
    document = {"songs": [{"item_id": "a", "status": "running"} | item]}
    told = [Finding(sort, "song", name) for sort, name in found]
    assert _callback(SONG, document) == told
    if "event" not in item:
        answer = {"status": 200000, "data": document}
        assert of_answer("song", "query", ("data", "songs"), answer)[:READ] == told


@pytest.mark.parametrize(
    ("document", "outline"),
    [
        ({"status": 200000, "data": {"songs": [{"item_id": "a"}]}}, "callback data.songs[]"),
        ({"works": [{"item_id": "a"}]}, "callback works[]"),
        ([{"item_id": "a"}], "callback []"),
        ({"songs": {"a": {"item_id": "a"}}}, "callback songs.a{}"),
        ({"song": {"item_id": "a"}}, "callback song{}"),
        ({}, "callback dict"),
        (5, "callback int"),
    ],
)
def test_the_shape_of_a_callback_without_its_list(
    document: dict[str, Any] | list[dict[str, str]] | int, outline: str
) -> None:
    assert Finding(DriftKind.SHAPE, "song", outline) in _callback(SONG, document)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({"status": 402001, "message": "balance empty"}, [(DriftKind.CODE, "submit 402001")]),
        ({"status": "no", "message": "x"}, [(DriftKind.CODE, "submit no")]),
        ({"status": 400007}, []),
        ({"status": 200000, "data": {"item_ids": ["a"]}}, []),
        ({"item_ids": ["a"]}, [(DriftKind.SHAPE, "submit item_ids[]")]),
        ({"status": 200000, "data": {"ids": ["a"]}}, [(DriftKind.SHAPE, "submit data.ids[]")]),
        ({"status": 200000, "data": None}, [(DriftKind.SHAPE, "submit dict")]),
        ([], []),
        ("nonsense", []),
    ],
)
def test_what_an_answer_has_that_nobody_knew(
    answer: dict[str, Any] | list[Any] | str, found: list[tuple[DriftKind, str]]
) -> None:
    told = of_answer("song", "submit", ("data", "item_ids"), answer)
    assert told == [Finding(sort, "song", name) for sort, name in found]


def test_an_account_is_of_no_family_and_has_no_list() -> None:
    assert of_answer("", "account", (), {"status": 200000, "data": {"balance": 1}}) == []
    assert of_answer("", "account", (), {"status": 500001}) == [Finding(DriftKind.CODE, "", "account 500001")]
    assert of_answer("stems", "query", ("data", STEMS.list_key), None) == []


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("::ffff:198.51.100.9", "198.51.100.0/24"),
        (None, None),
        ("nonsense", None),
    ],
)
def test_the_network_and_the_unusual_headers_of_a_callback(address: str | None, network: str | None) -> None:
    expected = [Finding(DriftKind.NETWORK, "song", network)] if network else []
    assert list(of_request("song", frozenset(name for name, _ in USUAL), address)) == expected
    headers = [*USUAL, (b"authorization", b"secret value"), (b"x-tempolor-signature", b"another")]
    names = [Finding(DriftKind.HEADER, "song", name) for name in ("authorization", "x-tempolor-signature")]
    assert list(of_request("song", frozenset(name for name, _ in headers), address)) == [*names, *expected]
