"""Bodies of requests, through a gateway: how large they may be, how they may be packed, and the words of a refusal."""

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx

from app.submissions.check_requests import MOST_BATCH_BYTES, MOST_TASK_BYTES
from app.web.bodies import SMALL_BYTES
from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.gateway import SONG, Running
from tests.support.song_callbacks import assert_problem, raw_body, song

TASK = {"kind": "song.generate", "params": SONG}


async def _post(
    gateway: Running, content: bytes | AsyncIterator[Any], path: str = "/v1/tasks", **headers: Any
) -> httpx.Response:
    return await gateway.api.post(path, content=content, headers=headers)


@on_sqlite
async def test_every_route_reads_what_it_is_for_and_no_more(gateway: Running) -> None:
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
    with_body.remove("/v1/uploads")  # no JSON, tests/stories/archive
    with_body.remove("/callbacks/{family}/{token}")  # tests/stories/callbacks/test_callback_sizes.py
    assert {path.replace("{task_id}", task["id"]).replace("{name}", "bootstrap") for path in with_body} == limits.keys()
    for path, most in limits.items():

        async def chunks(size: int) -> AsyncIterator[bytes]:
            yield b" " * size

        for content in (b" " * (most + 1), chunks(most + 1)):
            assert_problem(await _post(gateway, content, path), 413, "payload_too_large")
        if path != "/v1/clients/bootstrap/key":
            assert_problem(await _post(gateway, b" " * most, path), 400, "invalid_json")


@on_sqlite
async def test_a_task_of_a_batch_has_the_limit_of_a_task(gateway: Running, db: Direct) -> None:
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
async def test_a_body_that_came_as_gzip_is_unpacked_within_its_limit(gateway: Running, db: Direct) -> None:
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
        ("gzip", gzip.compress(b" " * 20_000_000), 413),
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
async def test_a_callback_that_came_as_gzip_is_unpacked_and_one_that_cannot_be_is_kept(gateway: Running) -> None:
    admission = gateway.gateway.intake.admission
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
async def test_no_word_of_a_refusal_is_the_validating_librarys(gateway: Running) -> None:
    """Its words change with its releases. Each kind of fault that our models can have is in the table."""
    url = f"/v1/tasks/{(await gateway.submit())['id']}"
    odd = [None, True, 1, 1.5, "", "x", "x" * 9000, "\x7f", [], [1], {}, {"a": 1}, "2026-13-01T00:00:00Z", 10**30]
    bodies = [
        ("/v1/tasks", ["kind", "params"], {}),
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
    some: list[dict[str, Any]] = [
        {name: value} for name in ("kind", "params", "reference", "metadata", "webhook_url", "what") for value in odd
    ]
    for kind, names in kinds.items():
        values = [*odd, "ftp://x/y", "http://", 5, 1e9]
        some += [{"kind": kind, "params": {name: value}} for name in names for value in values]
    for start in range(0, len(some), 25):
        refused.append(await gateway.api.post("/v1/tasks/batch", json={"tasks": some[start : start + 25]}))
        assert refused[-1].status_code == 422
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
