"""A GET is answered as its reader wants it: not again, compressed, and to the pages of the origins that are allowed."""

import gzip
from typing import Any

import pytest

from tests.support.gateway import Running
from tests.support.song_callbacks import assert_problem
from tests.support.start_fixtures import StartGateway


async def _get(gateway: Running, path: str, **headers: str) -> Any:
    return await gateway.api.get(path, headers={"Accept-Encoding": "identity"} | headers)


async def test_who_has_a_document_already_is_told_so_in_a_few_bytes(gateway: Running) -> None:
    task = await gateway.submit()
    path = f"/v1/tasks/{task['id']}"
    first = await _get(gateway, path)
    etag = first.headers["etag"]
    for named in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        again = await _get(gateway, path, **{"If-None-Match": named})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert (await _get(gateway, path, **{"If-None-Match": '"other"'})).json() == first.json()
    await gateway.api.post(f"{path}/cancel")
    changed = await _get(gateway, path, **{"If-None-Match": etag})
    assert (changed.status_code, changed.json()["status"]) == (200, "canceled")
    assert changed.headers["etag"] != etag


async def test_a_large_answer_is_compressed_for_who_reads_gzip(gateway: Running) -> None:
    for number in range(60):
        await gateway.submit(metadata={"filler": "x" * 2000, "number": number})
    plain = await _get(gateway, "/v1/tasks?limit=60")
    assert "content-encoding" not in plain.headers
    for offer in ("gzip", "br, gzip;q=0.5", "*"):
        async with gateway.api.stream("GET", "/v1/tasks?limit=60", headers={"Accept-Encoding": offer}) as answer:
            raw = b"".join([piece async for piece in answer.aiter_raw()])
        assert (answer.headers["content-encoding"], int(answer.headers["content-length"])) == ("gzip", len(raw))
        assert "Accept-Encoding" in answer.headers["vary"]
        assert gzip.decompress(raw) == plain.content
        assert len(raw) < len(plain.content) / 5
        assert answer.headers["etag"] == plain.headers["etag"]
    refused = await _get(gateway, "/v1/tasks?limit=60", **{"Accept-Encoding": "gzip;q=0, identity"})
    assert "content-encoding" not in refused.headers


async def test_what_holds_a_secret_is_not_compressed(gateway: Running) -> None:
    headers = {"Accept-Encoding": "gzip"}
    made = await gateway.api.post("/v1/clients", json={"name": "s" * 100}, headers=headers)
    assert "content-encoding" not in made.headers
    assert "etag" not in made.headers


PAGE = "https://app.example"


@pytest.mark.parametrize("allowed", [True, False])
async def test_pages_of_allowed_origins_may_call(start_gateway: StartGateway, allowed: bool) -> None:
    gateway = await start_gateway(workers=False, cors_allow_origins=[PAGE] if allowed else [])
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    asked = await gateway.api.options("/v1/tasks", headers={"Origin": PAGE, **preflight})
    assert (asked.status_code, asked.headers.get("access-control-allow-origin")) == (
        (200, PAGE) if allowed else (405, None)
    )
    for headers in ({}, {"Authorization": "Bearer nobody's"}):
        answer = await gateway.api.get("/v1/me", headers={"Origin": PAGE, **headers})
        assert answer.headers.get("access-control-allow-origin") == (PAGE if allowed else None)
    foreign = await gateway.api.get("/v1/me", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in foreign.headers
    assert_problem(await gateway.api.get("/v1/me", headers={"Authorization": "", "Origin": PAGE}), 401)
    callback = await gateway.api.post("/callbacks/song/none", headers={"Origin": PAGE})
    assert "access-control-allow-origin" not in callback.headers
