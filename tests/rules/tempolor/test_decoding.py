"""Decoding: sound structure is read whatever became of the text in it, and a right reading is never made worse."""

import json

import pytest

from app.tempolor import decoding
from app.tempolor.answers import Accepted, Answered, Response, read_query_answer, read_submit_answer
from app.tempolor.item_readings import read_callback
from app.tempolor.kinds import SONG

LYRICS = "海面上的灯火，一盏一盏亮起来。\n[chorus] 我们在港湾里等一艘船，等一个没有说完的夏天。"


def titled(title: bytes) -> bytes:
    return b'{"songs":[{"item_id":"i1","status":"succeeded","style":"Folk","title":"' + title + b'"}]}'


def title_of(raw: bytes) -> str:
    [song] = decoding.decode(raw)["songs"]
    assert (song["item_id"], song["status"], song["style"]) == ("i1", "succeeded", "Folk")
    return song["title"]


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"\xe6\xb8\xaf\xe6\xb9", "港\ufffd"),
        (b"\xe6\xb9", "\ufffd"),
        (b"\xe6", "\ufffd"),
        (b"Harbour \xff Lights", "Harbour \ufffd Lights"),
        (b"caf\xe9", "caf\ufffd"),
        (LYRICS.replace("\n", "").encode()[:-1], LYRICS.replace("\n", "")[:-1] + "\ufffd"),
        (b"\xf0\x9f\x8e", "\ufffd"),
        (b"\xed\xa0\xbc\xed\xbe\xb5", "🎵"),
        (b"\xed\xa0\xbc", "\ud83c"),
        (b"line one\nline two\ttab", "line one\nline two\ttab"),
        (b"a\x00b\x1fc", "a\x00b\x1fc"),
        (b"\\ud83c\\udfb5 \\ud83c", "🎵 \ud83c"),
    ],
)
def test_a_text_that_is_damaged_is_read_as_far_as_it_goes(sent: bytes, read: str) -> None:
    assert title_of(titled(sent)) == read


@pytest.mark.parametrize("encoding", ["gbk", "gb18030"])
@pytest.mark.parametrize(
    "title", ["港湾", "联通", "海", "誠實的人", "Harbour 港湾 Lights", LYRICS.replace("\n", "\\n")]
)
def test_the_encodings_of_china_are_told_from_the_bytes(encoding: str, title: str) -> None:
    assert title_of(titled(title.encode(encoding))) == title.replace("\\n", "\n")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_other_unicode_is_told_from_its_first_bytes(encoding: str) -> None:
    assert title_of(titled("港湾 🎵".encode()).decode().encode(encoding)) == "港湾 🎵"


@pytest.mark.parametrize(
    "text", ["é", "café", "港", "港湾", "ß and é", "Ελληνικά", "русский", "日本語の歌", "🎵", LYRICS]
)
def test_utf_8_with_one_letter_cut_anywhere_is_never_taken_for_chinese(text: str) -> None:
    text = text.replace("\n", " ")
    for place, letter in enumerate(text):
        for size in range(1, len(letter.encode())):
            sent = text[:place].encode() + letter.encode()[:size] + text[place + 1 :].encode()
            read = title_of(titled(sent))
            assert read == f"{text[:place]}\ufffd{text[place + 1 :]}"


def test_sound_utf_8_is_what_it_is_whatever_else_it_could_be() -> None:
    for text in ("Â£", "é", "ä½ å¥½", "ͨ", LYRICS):
        raw = titled(json.dumps(text, ensure_ascii=False)[1:-1].encode())
        assert title_of(raw) == text
        # The same where only something else of the body needs the lenient way.
        assert title_of(raw.replace(b'"Folk"', b'"Folk","odd":NaN')) == text


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe\x00",
        b"\xff",
        b'{"songs":[{"item_id":"i1","title":"\xe6\xb8',
        b'{"songs":[{"item_id":"i1"\n\xff}]}',
        '{"songs":['.encode("utf-16"),
        b"\xef\xbb\xbf",
        b"[" * 200_000,
        b"\xff" * 1_000_000,
        b"\xe6\xb8" * 500_000,
    ],
    ids=lambda raw: repr(raw[:30]),
)
def test_what_has_no_sound_structure_is_malformed(raw: bytes) -> None:
    with pytest.raises(decoding.Malformed):
        decoding.decode(raw)


def test_callbacks_and_answers_are_decoded_alike() -> None:
    damaged = b"\xe6\xb8\xaf\xe6\xb9\n"
    [reading] = read_callback(titled(damaged), SONG).readings
    assert reading.values["title"] == "港\ufffd\n"
    envelope = b'{"status":200000,"message":"' + damaged + b'","data":%s}'
    answer = read_query_answer(Response(200, envelope % titled(damaged)), SONG)
    assert isinstance(answer, Answered)
    assert answer.readings[0].values == reading.values
    named = read_submit_answer(Response(200, envelope % b'{"item_ids":["t2m_1"]}'))
    assert named == Accepted(("t2m_1",), None)
