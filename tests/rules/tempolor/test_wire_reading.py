"""Reading what the vendor sends: what is kept, what becomes absent, and what makes a body malformed."""

import json
from collections import Counter, defaultdict
from typing import Any

import msgspec
import pytest

from app.rules.join import ItemState, join
from app.rules.observation import KNOWN, Observation, Reading, Source, is_known, name_of, odd_key
from app.rules.status import ItemStatus, item_status
from app.tempolor import decoding, item_readings, vocabulary
from app.tempolor.item_readings import Body
from app.tempolor.kinds import FAMILIES, INSTRUMENTAL, LYRICS, MIDI, SONG, STEMS, Family
from tests.rules.tempolor.samples import AUDIO_COMPLETE, MP3, SECTIONS, STEMS_ANSWER, WAV, WAV_COMPLETE_WITHOUT_MP3
from tests.support.counted_calls import counted_calls


def body(*items: Any, family: Family = SONG) -> bytes:
    return json.dumps({family.list_key: list(items)}).encode()


def read(raw: bytes, family: Family = SONG) -> Body:
    return item_readings.read_callback(raw, family)


def read_one(item: dict[str, Any], family: Family = SONG) -> tuple[Reading, defaultdict[Any, Any]]:
    """One item that is read as it is, with an id, and what was passed over in it."""
    found = read(body({"item_id": "i1", **item}, family=family), family)
    return found.readings[0], found.oddities


def test_a_song_whose_mp3_is_ready() -> None:
    reading, oddities = read_one(AUDIO_COMPLETE)
    assert reading.item_id == "t2m_4c1d"
    assert reading.event == "audio_complete"
    assert reading.statuses == {
        "status": "main_succeeded",
        "audio_hi_status": "running",
        "lyrics_sections_status": "waiting",
    }
    assert reading.urls == {"audio_url": MP3}
    assert reading.values == {
        "model": "tempolor-latest",
        "title": "Paper Lanterns",
        "style": "Folk",
        "prompt": "gentle folk, two guitars",
        "duration": 187,
        "created_at": 1747207597,
        "finished_at": 1747207721,
    }
    assert not oddities


def test_a_final_instrumental_that_brings_no_mp3_says_nothing_of_it() -> None:
    reading, oddities = read_one(WAV_COMPLETE_WITHOUT_MP3, INSTRUMENTAL)
    assert reading.statuses == {"status": "succeeded", "audio_hi_status": "sub_succeeded"}
    assert reading.urls == {"audio_hi_url": WAV}
    assert reading.values["finished_at"] == 1747278158000
    assert not oddities


def test_a_querys_answer_is_read_by_its_list_and_is_no_event() -> None:
    items = STEMS_ANSWER["data"]["stems"]
    found = item_readings.read_items([*items, {"item_id": "mss_10", "event": "wav_complete"}], STEMS)
    assert [one.item_id for one in found.readings] == ["mss_9", "mss_10"]
    assert found.readings[0].urls == {"stems_url": "https://cdn.example/s.zip?auth_key=1"}
    assert [one.event for one in found.readings] == [None, None]


@pytest.mark.parametrize(
    ("sent", "over"), [(item_readings.MOST_ITEMS, 0), (item_readings.MOST_ITEMS + 1, 1), (1000, 800)]
)
def test_a_body_is_read_up_to_two_hundred_items_and_the_rest_is_counted(sent: int, over: int) -> None:
    found = read(body(*({"item_id": f"t2m_{n}"} for n in range(sent))))
    assert [one.item_id for one in found.readings] == [f"t2m_{n}" for n in range(200)]
    assert found.oddities == ({"too_many_items": over} if over else {})


@pytest.mark.parametrize("family", [LYRICS, STEMS, MIDI], ids=lambda family: family.name)
def test_a_callback_without_a_named_event_is_one_event_still(family: Family) -> None:
    assert read_one({"status": "succeeded"}, family)[0].event == ""


def test_aligned_lyrics_are_kept_as_they_came() -> None:
    assert read_one({"lyrics_sections": SECTIONS})[0].values == {"lyrics_sections": SECTIONS}


@pytest.mark.parametrize("nothing", [None, "", [], {}])
@pytest.mark.parametrize("field", ["title", "status", "audio_url", "lyrics_sections", "event", "news"])
def test_empty_values_are_absent_and_no_oddity(field: str, nothing: str | list[Any] | dict[str, Any] | None) -> None:
    reading, oddities = read_one({field: nothing})
    assert (reading.statuses, reading.urls, reading.values, reading.event) == ({}, {}, {}, "")
    assert not oddities


@pytest.mark.parametrize("kept", [0, False, 0.0, "0", [None], {"a": None}])
def test_values_that_only_look_empty_are_kept(kept: Any) -> None:
    assert read_one({"news": kept})[0].values == {"news": kept}


def test_unknown_fields_statuses_and_events_are_kept() -> None:
    reading, oddities = read_one({"mood": {"valence": 0.4}, "status": "archived", "event": "cover_complete"})
    assert reading.values == {"mood": {"valence": 0.4}}
    assert reading.statuses == {"status": "archived"}
    assert reading.event == "cover_complete"
    assert not oddities


LONG_URL = "https://" + "a" * 4096


@pytest.mark.parametrize(
    ("field", "odd", "kept"),
    [
        ("status", 3, 3),
        ("status", "s" * 65, "s" * 65),
        ("status", ["succeeded"], ["succeeded"]),
        ("audio_hi_status", {"now": "running"}, {"now": "running"}),
        ("event", 4, 4),
        ("event", "e" * 65, "e" * 65),
        ("title", ["a"], ["a"]),
        ("title", True, True),
        ("title", "t" * 501, "t" * 501),
        ("style", {"main": "Folk"}, {"main": "Folk"}),
        ("error", {"code": 3}, {"code": 3}),
        ("duration", True, True),
        ("duration", "3:07", "3:07"),
        ("duration", "nan", "nan"),
        ("duration", {"s": 187}, {"s": 187}),
        ("created_at", "yesterday", "yesterday"),
        ("lyrics", [1, 2], [1, 2]),
        ("lyrics", "l" * 6001, {"left_out": "6003 bytes"}),
        ("lyrics_sections", "soon", "soon"),
        ("lyrics_sections", "[", "["),
        ("lyrics_sections", "[]", "[]"),
        ("lyrics_sections", {"start": 1}, {"start": 1}),
        ("lyrics_sections", [{"text": "la " * 30_000}], {"left_out": "90013 bytes"}),
        ("audio_url", 5, 5),
        ("audio_url", "ftp://cdn.example/a.mp3", "ftp://cdn.example/a.mp3"),
        ("audio_url", "pending", "pending"),
        ("audio_url", LONG_URL, {"left_out": f"{len(LONG_URL) + 2} bytes"}),
        ("audio_url", ["soon", 3], ["soon", 3]),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_known_field_that_is_not_understood_is_kept_beside_what_is_and_counted(
    field: str, odd: Any, kept: Any
) -> None:
    reading, oddities = read_one({field: odd, "mood": "Folk"})
    assert reading.values == {f"?{field}": kept, "mood": "Folk"}
    assert (reading.statuses, reading.urls, reading.event) == ({}, {}, "")
    assert oddities == {"wrong_type": 1}
    assert odd_key(field) in reading.values


@pytest.mark.parametrize(
    ("field", "sent", "kept"),
    [
        ("title", 1984, 1984),
        ("title", 19.84, 19.84),
        ("model", 4, 4),
        ("lyrics", ["one", "two"], ["one", "two"]),
        ("lyrics", 7, 7),
        ("duration", "187", "187"),
        ("duration", " 187.5 ", " 187.5 "),
        ("duration", 187.5, 187.5),
        ("created_at", "2025-05-14T07:26:37Z", "2025-05-14T07:26:37Z"),
        ("created_at", "1747207597", "1747207597"),
        ("finished_at", 1741366502768, 1741366502768),
        ("finished_at", "2025-05-14 07:26:37", "2025-05-14 07:26:37"),
        ("lyrics_sections", json.dumps(SECTIONS), SECTIONS),
        ("lyrics_sections", ' [{"start": 1}]', [{"start": 1}]),
        ("lyrics_sections", '["a\\u0000b"]', ["a\ufffdb"]),
        ("lyrics_disp", [{"text": "la"}], [{"text": "la"}]),
        ("lrc_mv", "[00:01.00] la", "[00:01.00] la"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_value_whose_meaning_is_plain_is_one_whatever_its_type(
    field: str, sent: float | list[str | dict[str, str]] | str, kept: float | list[str | dict[str, Any]] | str
) -> None:
    reading, oddities = read_one({field: sent})
    assert reading.values == {field: kept}
    assert not oddities


@pytest.mark.parametrize(
    ("sent", "url"),
    [
        ("HTTPS://cdn.example/A.mp3?k=1", "https://cdn.example/A.mp3?k=1"),
        ("Http://cdn.example/a.mp3", "http://cdn.example/a.mp3"),
        ("//cdn.example/a.mp3?k=%2F", "https://cdn.example/a.mp3?k=%2F"),
        (" https://cdn.example/a.mp3", "https://cdn.example/a.mp3"),
        ("https://cdn.example/a.mp3\n", "https://cdn.example/a.mp3"),
        ("\t//cdn.example/a b.mp3 ", "https://cdn.example/a b.mp3"),
        ('["HTTPS://cdn.example/1.flac"]', '["HTTPS://cdn.example/1.flac"]'),
        ('{"drums": "//cdn.example/1.flac"}', '{"drums":"//cdn.example/1.flac"}'),
    ],
)
def test_a_url_is_one_also_without_its_scheme_in_capitals_and_among_blanks(sent: str, url: str) -> None:
    reading, oddities = read_one({"audio_url": sent})
    assert (reading.urls, reading.values) == ({"audio_url": url}, {})
    assert not oddities


@pytest.mark.parametrize("status", [" succeeded ", "SUCCEEDED", "Succeeded\n"])
def test_a_status_is_compared_as_it_is_and_nothing_is_guessed_of_it(status: str) -> None:
    reading, _ = read_one({"status": status})
    assert reading.statuses == {"status": status}
    assert item_status(status) is ItemStatus.RUNNING


@pytest.mark.parametrize(
    "value",
    ["v" * 5000, ["v"] * 1500, {"k": "v" * 4096}, {f"{n}": n for n in range(900)}],
    ids=lambda value: type(value).__name__,
)
def test_of_an_unknown_field_that_is_too_long_the_length_is_kept(value: str | list[str] | dict[str, Any]) -> None:
    reading, oddities = read_one({"news": value, "title": "kept"})
    size = len(msgspec.json.encode(value))
    assert reading.values == {"news": {"left_out": f"{size} bytes"}, "title": "kept"}
    assert oddities == {"too_long": 1}


def test_a_field_that_is_named_as_odd_ones_are_kept_is_another() -> None:
    reading, _ = read_one({"?title": "theirs", "title": True, "??x": 1})
    assert reading.values == {"??title": "theirs", "?title": True, "???x": 1}
    assert {name_of(key) for key in reading.values} == {"?title", "title", "??x"}


def test_the_size_of_a_body_decides_nothing_of_a_value() -> None:
    """What is not looked at in a small body cannot be too long there."""
    fields = {"title": "t" * 501, "lyrics": "l" * 5000, "lyrics_sections": [1e15] * 80, "audio_url": MP3}
    small, padded = (body({"item_id": "i1", **fields, **more}) for more in ({}, {"pad": " " * 4000}))
    assert len(small) <= item_readings.SMALL_BODY < len(padded)
    [reading] = read(small).readings
    values = dict(read(padded).readings[0].values)
    assert values.pop("pad")
    assert reading.values == values
    # A number may be written shorter than it is kept: this is the most that a small body can make of it.
    [longest] = read(
        body({"item_id": "i1"})[:-3] + b',"lyrics_sections":[' + b",".join([b"9e15"] * 1600) + b"]}]}"
    ).readings
    assert "lyrics_sections" in longest.values
    assert len(msgspec.json.encode(longest.values["lyrics_sections"])) <= item_readings.MOST_SECTIONS_BYTES


def test_every_documented_field_is_known_to_the_join() -> None:
    for family in FAMILIES.values():
        everything = {"item_id": "i1"} | dict.fromkeys(
            KNOWN | family.shape.status_fields | family.shape.url_fields, True
        )
        [reading] = read(body(everything, family=family), family).readings
        assert all(is_known(key) for key in reading.values)
    assert frozenset().union(*vocabulary.FIELDS.values()) >= KNOWN


def test_a_url_is_kept_exactly_as_given() -> None:
    url = "http://data-sz.tianpuyue.cn/a b.mp3?auth_key=1-0-%2f&x=#f"
    assert read_one({"audio_url": url})[0].urls == {"audio_url": url}


@pytest.mark.parametrize("name", ["streamAudioUrl", "stream_audio_url", "stream_url"])
def test_a_stream_is_found_under_any_of_its_names(name: str) -> None:
    assert read_one({name: MP3})[0].urls == {name: MP3}


@pytest.mark.parametrize(
    "several",
    [
        ["https://cdn.example/drums.flac", "https://cdn.example/bass.flac"],
        {"drums": "https://cdn.example/drums.flac", "bass": None},
        [{"name": "drums", "url": "https://cdn.example/drums.flac"}],
        {"drums": {"url": "https://cdn.example/drums.flac", "size": 3}},
    ],
    ids=["list", "object", "list of objects", "object of objects"],
)
def test_stems_as_a_list_or_an_object_are_kept_as_they_come(
    several: list[str | dict[str, str]] | dict[str, Any],
) -> None:
    reading, oddities = read_one({"status": "succeeded", "stems_url": several}, STEMS)
    assert not oddities
    assert json.loads(reading.urls["stems_url"]) == several


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("t2m_81f0", "t2m_81f0"),
        ("x" * 200, "x" * 200),
        (123, "123"),
        (0, "0"),
        (-5, "-5"),
        (2**70, str(2**70)),
        ("a\x00b", "a\ufffdb"),
        ("a\ud800b", "a\ufffdb"),
        ("", None),
        ("x" * 201, None),
        (None, None),
        (True, None),
        (1.0, None),
        (10**40, str(10**40)),
        (10**200, None),
        (["i1"], None),
        ({}, None),
    ],
)
def test_item_ids_are_texts_of_1_to_200_characters_or_whole_numbers(given: Any, read: str | None) -> None:
    assert item_readings.read_item_id(given) == read


def test_one_bad_item_does_not_spoil_the_good_ones() -> None:
    found = read(
        body({"status": "failed"}, 7, None, "x", [], {"item_id": ""}, {"item_id": "good", "status": "running"})
    )
    assert [one.item_id for one in found.readings] == ["good"]
    assert found.oddities == Counter(item_not_object=4, item_without_id=2)


def test_an_empty_list_is_fine() -> None:
    assert read(body()).readings == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"success",
        b"\xff\xfe\x00",
        b'{"songs":[{"item_id":"i1","title":"\xff}]}',
        b'{"songs":[{"item_id":"i1"}',
        b'{"songs":null}',
        b'{"songs":{}}',
        b'{"songs":"i1"}',
        b'{"instrumentals":[{"item_id":"i1"}]}',
        b'{"Songs":[{"item_id":"i1"}]}',
        b"{}",
        b"[]",
        b'[{"item_id":"i1"}]',
        b"null",
        b"7",
        b'"songs"',
        b'{"songs":[{}]}',
        b'{"songs":[{"status":"succeeded"},{"item_id":null}]}',
        b"[" * 200_000,
        b'{"songs":' * 5000,
        b'{"songs":[{"item_id":"i1","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}]}",
    ],
    ids=lambda raw: raw[:40].decode("latin-1"),
)
def test_what_is_not_json_or_not_the_documented_shape_is_malformed(raw: bytes) -> None:
    with pytest.raises(decoding.Malformed) as caught:
        read(raw)
    assert len(str(caught.value)) < 80


def test_what_malformed_says_is_safe_to_show() -> None:
    with pytest.raises(decoding.Malformed) as caught:
        read(b'{"songs": [{"item_id": "tempo-secret"')
    assert "secret" not in str(caught.value)


def test_nul_and_lone_surrogates_become_replacement_characters() -> None:
    raw = b'{"songs":[{"item_id":"i1","title":"a\\u0000b\\ud83dc","m\\u0000d":["\\udc00"],"prompt":"\\ud83c\\udfb5"}]}'
    reading = read(raw).readings[0]
    assert reading.values == {"title": "a\ufffdb\ufffdc", "m\ufffdd": ["\ufffd"], "prompt": "🎵"}


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity", "1" * 41, "-" + "1" * 4000])
def test_a_number_out_of_range_is_kept_as_its_text_and_counted(number: str) -> None:
    raw = b'{"songs":[{"item_id":"i1","status":"succeeded","odd":%s,"list":[1,%s]}]}' % ((number.encode(),) * 2)
    found = read(raw)
    assert found.readings[0].statuses == {"status": "succeeded"}
    assert found.readings[0].values == {"odd": number, "list": [1, number]}
    assert found.oddities["number_out_of_range"] == 2


def test_a_song_is_not_lost_over_one_number_of_five_thousand_digits() -> None:
    raw = b'{"songs":[{"item_id":"i1","status":"succeeded","odd":%s}]}' % (b"1" * 5000)
    found = read(raw)
    assert found.readings[0].statuses == {"status": "succeeded"}
    assert found.oddities["number_out_of_range"] == 1


@pytest.mark.parametrize(("digits", "is_read"), [(200, True), (201, False), (6000, False)])
def test_an_item_id_of_many_digits_is_their_text_also_where_other_numbers_are_odd(digits: int, is_read: bool) -> None:
    raw = b'{"songs":[{"item_id":%s,"duration":1e400},{"item_id":1e400},{"item_id":NaN}]}' % (b"7" * digits)
    if is_read:
        assert [one.item_id for one in read(raw).readings] == ["7" * digits]
    else:
        with pytest.raises(decoding.Malformed):
            read(raw)


def test_long_integers_within_the_bound_are_kept_to_the_digit() -> None:
    assert read_one({"seed": 10**39})[0].values == {"seed": 10**39}


def test_what_is_nested_too_deeply_is_dropped_and_counted_and_the_song_is_kept() -> None:
    deep = b"[" * 500 + b"1" + b"]" * 500
    found = read(b'{"songs":[{"item_id":"i1","status":"succeeded","odd":%s}]}' % deep)
    assert found.readings[0].statuses == {"status": "succeeded"}
    assert found.oddities["too_deep"] == 1
    assert item_readings.TOO_DEEP in json.dumps(found.readings[0].values)
    msgspec.json.encode(found.readings[0].values)


def test_every_family_reads_its_own_list_and_no_other() -> None:
    for family in FAMILIES.values():
        raw = body({"item_id": "i1"}, family=family)
        for other in FAMILIES.values():
            if other is family:
                assert len(read(raw, other).readings) == 1
            else:
                with pytest.raises(decoding.Malformed):
                    read(raw, other)


@pytest.mark.parametrize(
    ("opening", "closing"),
    [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]"), ('["]",', ',"["]'), ('{"]}":', "}")],
    ids=["lists", "objects", "both", "brackets in texts", "brackets in names"],
)
@pytest.mark.parametrize("times", [20, 40, 300])
def test_depth_is_seen_whatever_the_brackets(opening: str, closing: str, times: int) -> None:
    nested = opening * times + "1" + closing * times
    found = item_readings.read_callback(
        f'{{"songs":[{{"item_id":"a","odd":{nested},"title":"kept"}}]}}'.encode(), FAMILIES["song"]
    )
    depth = times * (2 if opening.startswith("[{") else 1)
    assert found.readings[0].values["title"] == "kept"
    assert (found.oddities["too_deep"] > 0) == (depth > 32)


@pytest.mark.parametrize("unit", [b"1e308,", b"-5e-324,", b"1.5E+300,"])
def test_many_numbers_at_the_ends_of_their_range_are_not_given_to_the_quick_decoder(unit: bytes) -> None:
    """It takes some 10 µs for each, so that a body of the largest size would stop a process for seconds."""

    def is_read_quickly(numbers: int) -> bool:
        raw = b'{"songs":[{"item_id":"a","status":"running","x":[%s0]}]}' % (unit * numbers)
        with counted_calls() as calls:
            assert len(read(raw).readings) == 1
        is_quick = bool(calls.keys() & {"Decoder.decode", "json_decode"})
        assert is_quick != ("raw_decode" in calls), "the standard library's takes the others"
        return is_quick

    assert is_read_quickly(100)
    assert not is_read_quickly(10_000)


@pytest.mark.parametrize("names", [60, 500], ids=["all are read", "only the least are read"])
def test_of_very_many_fields_an_item_keeps_the_same_however_they_are_sent(names: int) -> None:
    """Each field costs the join a look at all that it has, so that it is not given more than it could keep."""
    others = {f"new_{n * 7919 % 1000:03}": n for n in range(names)}
    fields = {"title": "kept", "?": "named as odd ones are", **others, "duration": ["odd"]}

    def joined(*parts: dict[str, Any]) -> ItemState:
        state = ItemState()
        for part in parts:
            reading, _ = read_one(part)
            state = join(state, Observation("song", reading, Source.CALLBACK, 1)).state
        return state

    at_once = joined(fields)
    assert at_once == joined(*({name: value} for name, value in fields.items()))
    assert at_once.left_out
    assert (at_once.value("title"), at_once.value(odd_key("duration"))) == ("kept", ["odd"])
    reading, oddities = read_one(fields)
    assert len(reading.values) <= 100
    assert oddities["too_many_fields"] == (names + 1 - 33 if names > 100 else 0)


@pytest.mark.parametrize("field", ["lyrics_sections", "audio_url", "audio_hi_url"])
def test_a_text_that_holds_more_json_than_is_kept_of_it_is_not_decoded(field: str) -> None:
    reading, oddities = read_one({field: "[" + "[]," * 300_000 + "0]"})
    assert (oddities["wrong_type"], reading.urls) == (1, {})
    assert reading.values == {odd_key(field): {"left_out": "900005 bytes"}}
