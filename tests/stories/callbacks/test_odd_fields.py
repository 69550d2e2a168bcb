"""Fields of an item that are not of the usual type or form: read where their meaning is plain, else kept and shown."""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from tests.support.databases import on_sqlite
from tests.support.gateway import Running
from tests.support.song_callbacks import done, song

pytestmark = on_sqlite
SECTIONS = [{"start": 0.5, "end": 2.5, "text": "la"}]


async def shown(
    gateway: Running, *bodies: dict[str, Any], kind: str = "song.generate", family: str = "song"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The item of a task of its own of which these callbacks came, and the task."""
    task_id = (await gateway.submit(kind))["id"]
    for body in bodies:
        own = json.dumps(body).replace("t2m_", f"t2m_{task_id}_").encode()
        assert (await gateway.call_back(family, own, UUID(task_id))).text == "success"
    task = await gateway.task(task_id)
    [item] = task["items"]
    return item, task


PLAIN: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"duration": "187"}, {"duration_s": 187}, {"duration": "187"}),
    ({"title": 1984}, {"title": "1984"}, {"title": 1984}),
    ({"lyrics": ["one", "two"]}, {"lyrics": "one\ntwo"}, {"lyrics": ["one", "two"]}),
    ({"lyrics_sections": json.dumps(SECTIONS)}, {"lyrics_sections": SECTIONS}, {}),
    (
        {"lyrics_sections": [{"start_ms": 500, "end_ms": "2500", "text": "la"}, "odd"]},
        {"lyrics_sections": [{"start_ms": 500, "end_ms": "2500", "text": "la", "start": 0.5, "end": 2.5}, "odd"]},
        {"lyrics_sections": [{"start_ms": 500, "end_ms": "2500", "text": "la"}, "odd"]},
    ),
    ({"created_at": "2025-05-14T07:26:37Z"}, {}, {"created_at": "2025-05-14T07:26:37Z"}),
]
"""What was sent, as what it is shown in its field, and in ``vendor``."""


async def test_what_is_plain_is_shown_in_its_type_and_in_vendor_as_it_came(gateway: Running) -> None:
    for sent, typed, vendor in PLAIN:
        item, task = await shown(gateway, song(**sent))
        assert (sent, {name: item[name] for name in typed}) == (sent, typed)
        assert (sent, {name: item["vendor"][name] for name in vendor}) == (sent, vendor)
        assert (sent, task["warnings"]) == (sent, [])


ODD: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"duration": "3:07"}, {"duration_s": None}),
    ({"title": {"en": "Harbour"}}, {"title": None}),
    ({"lyrics_sections": {"start": 1}}, {"lyrics_sections": None}),
    ({"lyrics_sections": "soon"}, {"lyrics_sections": None}),
    ({"audio_url": "soon"}, {}),
    ({"status": 3}, {"status": "waiting"}),
    ({"event": ["wav_complete"]}, {}),
]
"""What was sent, and as what it is shown."""


async def test_what_is_odd_is_shown_in_vendor_until_something_is_understood(gateway: Running) -> None:
    for odd, typed in ODD:
        only_odd = song(**odd)
        if "status" not in odd:
            del only_odd["songs"][0]["status"]
        item, task = await shown(gateway, only_odd)
        assert odd.items() <= item["vendor"].items()
        assert (odd, {name: item[name] for name in typed}) == (odd, typed)
        assert (odd, item["artifacts"]["audio"]["status"]) == (odd, "pending")
        assert (odd, task["warnings"]) == (odd, ["odd_value"])
        usual = done(title="Harbour Lights", duration=187, event="wav_complete")
        orders = [await shown(gateway, *order) for order in ((only_odd, usual), (usual, only_odd))]
        for item, task in orders:
            known = item["title"], item["duration_s"], item["lyrics_sections"]
            assert (odd, *known) == (odd, "Harbour Lights", 187, SECTIONS)
            assert (odd, task["status"], item["artifacts"]["audio"]["status"]) == (odd, "succeeded", "ready")
            assert (odd, task["warnings"]) == (odd, ["odd_value"] if "event" in odd else [])
        one, other = (
            {name: item["vendor"][name] for name in item["vendor"] if name != "item_id"} for item, _ in orders
        )
        assert (odd, one) == (odd, other)


async def test_what_is_too_long_is_told_by_its_length(gateway: Running) -> None:
    item, task = await shown(gateway, song(lyrics="l" * 7000, news="n" * 5000, audio_url="https://cdn/" + "a" * 5000))
    assert item["lyrics"] is None
    assert item["artifacts"]["audio"]["status"] == "pending"
    for name, size in (("lyrics", 7002), ("news", 5002), ("audio_url", 5014)):
        assert item["vendor"][name] == {"left_out": f"{size} bytes"}
    assert task["warnings"] == ["odd_value", "values_left_out"]


async def test_no_status_is_guessed_to_be_a_success(gateway: Running) -> None:
    for status in ("Succeeded", " succeeded ", "completed", "success", "pending", "queued", "processing"):
        item, task = await shown(gateway, song(status=status))
        assert (item["status"], task["status"], item["vendor"]["status"]) == ("running", "running", status)
        assert (status, task["warnings"]) == (status, ["unknown_status"])


async def test_a_list_inside_data_is_read_as_if_it_stood_at_the_top(gateway: Running) -> None:
    for wrapped in ({"data": None}, {"status": 200000, "message": "success", "request_id": "r", "data": 0}):
        item, task = await shown(gateway, wrapped | {"data": done(title="Harbour Lights")})
        assert (item["title"], task["status"]) == ("Harbour Lights", "succeeded")
        item, _ = await shown(gateway, wrapped | {"data": done(title="inside")} | song("t2m_2", title="at the top"))
        assert item["title"] == "at the top"


async def test_the_accompaniment_and_the_stream_are_shown_where_the_vendor_gives_them(gateway: Running) -> None:
    for kind, family in (("song.generate", "song"), ("instrumental.generate", "instrumental")):

        def body(family: str = family, **fields: Any) -> dict[str, Any]:
            return {f"{family}s": [{"item_id": f"t2m_1{family}", "status": "main_succeeded", **fields}]}

        item, _ = await shown(gateway, body(audio_url="https://cdn/a.mp3"), kind=kind, family=family)
        assert item["artifacts"].keys() == {"audio", "audio_hi"}
        given = {"audio_bgm_url": "https://cdn/b.mp3", "streamAudioUrl": "https://cdn/s.mp3"}
        item, _ = await shown(gateway, body(**given), kind=kind, family=family)
        assert item["artifacts"]["bgm"]["url"] == "https://cdn/b.mp3"
        assert item["artifacts"]["stream"]["url"] == "https://cdn/s.mp3"


async def test_aligned_lyrics_of_an_instrumental_are_taken_and_not_waited_for(gateway: Running) -> None:
    fields = {"audio_url": "https://cdn/a.mp3", "audio_hi_url": "https://cdn/a.wav", "status": "succeeded"}
    task = await gateway.submit("instrumental.generate")
    await gateway.call_back("instrumental", {"instrumentals": [{"item_id": "i1", **fields}]}, UUID(task["id"]))
    rows = (await gateway.task(task["id"]))["items"]
    assert rows[0]["lyrics_sections"] is None
    assert not await gateway.gateway.context.db.read(_due)
    late: dict[str, Any] = {"item_id": "i1", "event": "lrcsections_complete", "lyrics_sections_status": "sub_succeeded"}
    late |= {"lyrics_sections": SECTIONS}
    await gateway.call_back("instrumental", {"instrumentals": [late]}, UUID(task["id"]))
    ended = await gateway.task(task["id"])
    assert (ended["items"][0]["lyrics_sections"], ended["warnings"]) == (SECTIONS, [])
    assert ended["items"][0]["vendor"]["lyrics_sections_status"] == "sub_succeeded"


def _due(conn: sa.Connection) -> list[Any]:
    return list(conn.exec_driver_sql("SELECT item_id FROM items WHERE query_due_at IS NOT NULL"))


async def test_a_link_ends_when_it_says_so_if_that_can_be_true(gateway: Running) -> None:
    for days in (-1, 0.2, 20, 40):
        lifetime = timedelta(days=days)
        task = await gateway.submit()
        seen = datetime.fromisoformat(task["created_at"])
        end = (seen + lifetime).replace(microsecond=0)
        urls = {
            "audio_url": f"https://cdn/a.mp3?x=1&auth_key={int(end.timestamp())}-0-0-beef",
            "audio_hi_url": "https://cdn/a.wav?auth_key=soon-0-0-beef",
            "stream_url": f"https://cdn/s.mp3?auth_key={int(end.timestamp())}",
        }
        await gateway.call_back("song", song(f"t2m_{days}", **urls), UUID(task["id"]))
        [item] = (await gateway.task(task["id"]))["items"]
        ends = {name: datetime.fromisoformat(one["expires_at"]) for name, one in item["artifacts"].items()}
        told = timedelta() < lifetime <= timedelta(days=30)
        assert ((ends["audio"] == end), (ends["stream"] == end)) == (told, told), days
        assert told or timedelta(days=3) <= ends["audio"] - seen < timedelta(days=3, minutes=1), days
        assert told or timedelta(minutes=10) <= ends["stream"] - seen < timedelta(minutes=11), days
        assert timedelta(days=3) <= ends["audio_hi"] - seen < timedelta(days=3, minutes=1), days
