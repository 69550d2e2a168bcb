"""Whatever a body holds: 400 or 200, kept as it came, never 500, and everything stays readable."""

import json
from urllib.parse import quote
from uuid import UUID

from app.rules.transition import MOST_ITEMS
from tests.support.direct_sql import Direct
from tests.support.gateway import Running
from tests.support.song_callbacks import assert_problem, logged, raw_body, song

DEEP = 100_000
ITEM = '{"item_id":"t2m_1","status":"running",%s}'


def _raw(*fields: str) -> bytes:
    return b'{"songs":[%s]}' % ITEM.encode() % ",".join(fields).encode()


def _ids(item_id: object) -> bytes:
    return json.dumps(song(item_id)).encode()


MALFORMED = {
    "empty": b"",
    "blank": b" \n",
    "not JSON": b"success",
    "form": b"item_id=t2m_1&status=succeeded",
    "truncated": b'{"songs":[{"item_id":"t2m_1","status":"succ',
    "trailing": b'{"songs":[{"item_id":"t2m_1"}]} {}',
    "single quotes": b"{'songs':[{'item_id':'t2m_1'}]}",
    "nested lists": b"[" * DEEP,
    "nested closed": b"[" * DEEP + b"]" * DEEP,
    "nested objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "nested inside": b'{"songs":[{"item_id":"t2m_1","x":' + b"[" * DEEP + b"]" * DEEP + b"}]}",
    "a list": b'[{"item_id":"t2m_1"}]',
    "a string": b'"songs"',
    "a number": b"1",
    "null": b"null",
    "true": b"true",
    "an empty object": b"{}",
    "an envelope without a list": b'{"status":200000,"data":[{"item_id":"t2m_1"}]}',
    "another family's list": b'{"stems":[{"item_id":"mss_1"}]}',
    "a null list": b'{"songs":null}',
    "an object for a list": b'{"songs":{"item_id":"t2m_1"}}',
    "a text for a list": b'{"songs":"t2m_1"}',
    "no ids": b'{"songs":[{"status":"succeeded"},{"title":"x"}]}',
    "no objects": b'{"songs":[null,1,"t2m_1",[],true]}',
    "empty id": _ids(""),
    "null id": _ids(None),
    "true id": _ids(True),
    "fractional id": _ids(1.5),
    "list id": _ids(["t2m_1"]),
    "object id": _ids({"id": 1}),
    "201 characters": _ids("x" * 201),
    "8 KB id": _ids("x" * 8192),
    "a huge number": b'{"songs":[{"item_id":1' + b"0" * 6000 + b"}]}",
    "infinite id": b'{"songs":[{"item_id":1e400}]}',
}

USABLE = {
    "empty list": b'{"songs":[]}',
    "one usable of many": b'{"songs":[null,{},{"item_id":""},{"item_id":"t2m_1","status":"running"},7]}',
    "200 characters": _ids("x" * 200),
    "200 wide characters": _ids("🎵" * 200),
    "number id": _ids(123),
    "negative id": _ids(-7),
    "30 digits": _ids(10**30),
    "odd id": _ids("../a b?c#d%00"),
    "NUL in id": _ids("a\x00b"),
    "surrogate in id": _ids("c\ud800d"),
    "only a NUL": _ids("\x00"),
    "NUL in texts": _raw(r'"title":"a\u0000b"', r'"mood":"\u0000"', r'"style":["\u0000"]'),
    "surrogates": _raw(r'"title":"a\ud83c"', r'"mood":{"\udc00":"\ud800\ud800"}'),
    "NUL and surrogate names": _raw(r'"a\u0000":1', r'"\ud800":2', r'"":3'),
    "names that meet": _raw(f'"{"n" * 199}\\u0000":1', f'"{"n" * 199}\\ud800":"{"v" * 9000}"', f'"{"n" * 400}":[1]'),
    "numbers out of range": _raw('"duration":1e400', '"created_at":-1e400', '"x":1e999', '"y":[1e400]'),
    "not numbers": _raw('"duration":NaN', '"finished_at":-Infinity'),
    "long numbers": _raw('"duration":' + "9" * 30, '"created_at":' + "9" * 39, '"x":' + "9" * 5000),
    "beyond a float": _raw('"x":1' + "0" * 309, '"duration":-1' + "0" * 400),
    "64 bits and more": _raw(f'"x":{2**63}', f'"y":{2**64}', f'"z":{-(2**63) - 1}', f'"duration":{2**64}'),
    "small numbers": _raw('"duration":-5', '"created_at":0', '"finished_at":1e-320', '"x":-0.0'),
    "wrong types": _raw('"duration":"187"', '"title":7', '"lyrics_sections":"x"', '"audio_url":{}', '"style":true'),
    "wrong statuses": _raw('"audio_hi_status":7', '"lyrics_sections_status":["running"]', '"event":{}'),
    "long statuses": _raw(f'"audio_hi_status":"{"x" * 100_000}"', f'"event":"{"e" * 70_000}"'),
    "odd URLs": _raw('"audio_url":"javascript:alert(1)"', '"audio_hi_url":"file:///etc/passwd"'),
    "long URLs": _raw(f'"audio_url":"https://cdn.example/{"x" * 300_000}"'),
    "long texts": _raw(f'"title":"{"t" * 200_000}"', f'"lyrics":"{"l" * 200_000}"'),
    "many fields": _raw(*(f'"field_{n}":{n}' for n in range(5000))),
    "many sections": _raw('"lyrics_sections":[' + ",".join(['{"start":1,"end":2,"text":"la"}'] * 5000) + "]"),
    "odd sections": _raw('"lyrics_sections":[null,1,"x",[],{"start":"a"}]'),
    "nested a bit": _raw('"x":' + "[" * 200 + "]" * 200, '"lyrics_sections":[' + "[" * 60 + "]" * 60 + "]"),
    "nested objects": _raw('"x":' + '{"a":' * 300 + "1" + "}" * 300),
    "twice the same name": _raw('"title":"a"', '"title":"b"', '"item_id":"t2m_2"'),
    "no status": b'{"songs":[{"item_id":"t2m_1"}]}',
    "status of no type": b'{"songs":[{"item_id":"t2m_1","status":1}]}',
    "twice the same item": b'{"songs":[{"item_id":"t2m_1","status":"failed"},{"item_id":"t2m_1","title":"x"}]}',
    "many items": json.dumps(
        {"songs": [{"item_id": f"t2m_{n}", "status": "running"} for n in range(MOST_ITEMS)]}
    ).encode(),
    "an envelope": b'{"status":200000,"data":{"songs":[{"item_id":"t2m_1"}]}}',
    "more in the body": b'{"stems":[{}],"songs":[{"item_id":"t2m_1"}],"\\u0000":"\\ud800"}',
    "invalid UTF-8": b'{"songs":[{"item_id":"t2m_1","title":"\xff\xfe"}]}',
    "half a character": b'{"songs":[{"item_id":"t2m_1","title":"\xe2\x82"}]}',
    "a raw NUL": b'{"songs":[{"item_id":"t2m_1","title":"\x00"}]}',
    "spaces": b'  \r\n{"songs" : [ { "item_id" : "t2m_1" } ] }\t\n',
}


async def test_a_bad_body_is_400_and_kept_as_it_came(gateway: Running, db: Direct) -> None:
    task_id = (await gateway.submit())["id"]
    before = await gateway.task(task_id)
    for bound in (UUID(task_id), None):
        answers = {name: await gateway.call_back("song", body, bound) for name, body in MALFORMED.items()}
        assert {name: one.status_code for name, one in answers.items()} == dict.fromkeys(MALFORMED, 400)
        assert_problem(answers["empty"], 400, "malformed")
    kept = await logged(gateway)
    assert [(one["disposition"], one["count"], one["size"]) for one in kept] == 2 * [
        ("malformed", 1, len(body)) for body in MALFORMED.values()
    ]
    assert [one["task_id"] for one in kept] == [task_id] * len(MALFORMED) + [None] * len(MALFORMED)
    assert [await raw_body(gateway, one["id"]) for one in kept[: len(MALFORMED)]] == list(MALFORMED.values())
    assert await db.rows("SELECT * FROM items") == []
    # It changed nothing that a client sees, but is on the task's timeline.
    assert await gateway.task(task_id) == before
    assert len(await gateway.timeline(task_id)) == 1 + len(MALFORMED)
    for bound in (UUID(task_id), None):
        assert (await gateway.call_back("song", MALFORMED["empty"], bound)).status_code == 400
    assert [one["count"] for one in await logged(gateway)] == 2 * [2, *[1] * (len(MALFORMED) - 1)]


async def test_an_odd_body_is_applied_and_everything_stays_readable(gateway: Running) -> None:
    bodies, answers, kept, unreadable = {}, {}, {}, {}
    for name, odd in USABLE.items():
        body = odd.replace(b"t2m_", f"t2m_{name}_".encode())  # items of its own
        task_id = (await gateway.submit())["id"]
        bodies[task_id] = name, body
        answer = await gateway.call_back("song", body, UUID(task_id))
        answers[name] = (answer.status_code, answer.text[:80])
        for path in (f"/v1/tasks/{task_id}", f"/v1/tasks/{task_id}/timeline"):
            read = await gateway.api.get(path)
            if read.status_code != 200 or not read.json():
                unreadable[name, path] = read.status_code
    assert answers == dict.fromkeys(USABLE, (200, "success"))
    assert unreadable == {}
    for row in await logged(gateway):
        name, body = bodies[row["task_id"]]
        kept[name] = (row["disposition"], await raw_body(gateway, row["id"]) == body)
    assert kept == dict.fromkeys(USABLE, ("applied", True))
    listed, cursor = 0, ""
    while cursor is not None:
        page = await gateway.api.get("/v1/tasks", params={"limit": 200} | ({"cursor": cursor} if cursor else {}))
        assert page.status_code == 200
        listed += len(page.json()["data"])
        cursor = page.json()["next_cursor"]
    assert listed == len(USABLE)


async def test_the_answer_is_the_plain_word_success(gateway: Running) -> None:
    answer = await gateway.call_back("song", song(), UUID((await gateway.submit())["id"]))
    assert (answer.status_code, answer.content) == (200, b"success")
    assert answer.headers["content-type"].partition(";")[0] == "text/plain"


async def test_ids_are_texts_whatever_the_vendor_sends(gateway: Running) -> None:
    task_id = UUID((await gateway.submit())["id"])
    for item_id in (123, "a\x00b", "c\ud800d", 10**30, "with space/and slash"):
        assert (await gateway.call_back("song", _ids(item_id), task_id)).status_code == 200
    names = [item["item_id"] for item in (await gateway.task(str(task_id)))["items"]]
    assert names == ["123", "a\ufffdb", "c\ufffdd", "1" + "0" * 30, "with space/and slash"]
    # A number and its text are one item.
    assert (await gateway.call_back("song", song("123", title="Text"), task_id)).status_code == 200
    task = await gateway.task(str(task_id))
    assert len(task["items"]) == 5
    assert task["items"][0]["title"] == "Text"
    for name in names:
        found = await gateway.api.get(f"/v1/items/{quote(name, safe='')}")
        assert (name, found.status_code) == (name, 200)
        assert found.json()["id"] == str(task_id)


async def test_broken_texts_are_mended_and_the_song_is_not_lost(gateway: Running) -> None:
    task_id = UUID((await gateway.submit())["id"])
    body = _raw(r'"title":"Har\u0000bour \ud83c"', '"duration":1e400', '"audio_url":"https://cdn.example/a.mp3"')
    assert (await gateway.call_back("song", body.replace(b"running", b"main_succeeded"), task_id)).status_code == 200
    task = await gateway.task(str(task_id))
    assert task["status"] == "main_succeeded"
    item = task["items"][0]
    assert item["title"] == "Har\ufffdbour \ufffd"
    assert item["duration_s"] is None
    assert item["artifacts"]["audio"]["url"] == "https://cdn.example/a.mp3"


async def test_unknown_fields_events_and_statuses_are_kept_and_shown(gateway: Running) -> None:
    task_id = UUID((await gateway.submit())["id"])
    odd = {"mood": "calm", "bpm": 92, "tags": ["a", {"b": None}], "cover": {"url": "https://cdn.example/c.png"}}
    body = song("t2m_1", "cancelled", event="video_complete", audio_hi_status="paused", **odd)
    assert (await gateway.call_back("song", body, task_id)).status_code == 200
    task = await gateway.task(str(task_id))
    item = task["items"][0]
    assert (task["status"], item["status"]) == ("running", "running")
    assert item["artifacts"]["audio_hi"]["status"] == "pending"
    assert {name: item["vendor"].get(name) for name in odd} == odd
    assert (item["vendor"]["status"], item["vendor"]["audio_hi_status"]) == ("cancelled", "paused")
    told = [one["detail"] for one in await gateway.timeline(str(task_id)) if one["type"] == "callback"]
    assert "video_complete" in [note.get("event") for note in told[0]["items"]]


async def test_files_in_place_of_one_url_are_kept_as_they_come(gateway: Running) -> None:
    for files in (["https://cdn.example/1.flac", "https://cdn.example/2.flac"], {"vocals": "https://cdn.example/v"}):
        task_id = (await gateway.submit("stems.create"))["id"]
        body = {"stems": [{"item_id": f"mss_{task_id}", "status": "succeeded", "stems_url": files}]}
        assert (await gateway.call_back("stems", body, UUID(task_id))).status_code == 200
        task = await gateway.task(task_id)
        assert task["status"] == "succeeded"
        assert task["items"][0]["artifacts"]["stems"]["url"] == files
        assert task["items"][0]["vendor"]["stems_url"] == files
