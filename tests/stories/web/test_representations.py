"""A GET is answered as its reader wants it: not again, compressed, and to the pages of the origins that are allowed."""

import gzip
import re
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
    evil = {"Origin": "https://evil.example"}
    assert "access-control-allow-origin" not in (await gateway.api.get("/v1/me", headers=evil)).headers
    refusal = await gateway.api.options("/v1/tasks", headers={**evil, **preflight})
    assert_problem(refusal, *((400, "bad_request") if allowed else (405, "method_not_allowed")))
    assert "access-control-allow-origin" not in refusal.headers
    assert ("Origin" in refusal.headers.get("vary", "")) is allowed
    assert_problem(await gateway.api.get("/v1/me", headers={"Authorization": "", "Origin": PAGE}), 401)
    callback = await gateway.api.post("/callbacks/song/none", headers={"Origin": PAGE})
    assert "access-control-allow-origin" not in callback.headers


async def test_head_is_answered_as_get_is_without_the_body(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False)
    counted = re.compile(
        r'gateway_requests_total\{method="HEAD",route="/v1/tasks/\{task_id\}/timeline",status="200"\} (.+)'
    )
    before = counted.findall((await gateway.api.get("/metrics")).text)
    task = await gateway.submit()
    for path in (
        *("/healthz", "/readyz", "/backlog", "/metrics", "/openapi.json"),
        *("/v1/tasks?limit=1", f"/v1/tasks/{task['id']}", f"/v1/tasks/{task['id']}/timeline", "/v1/me", "/v1/clients"),
        *("/v1/nothing", "/v1/tasks/nobody", "/v1/tasks?nothing=1", "/v1/items/nobody/artifacts/audio"),
        "/v1/items/nobody/artifacts/stems/members",
    ):
        got, head = await gateway.api.get(path), await gateway.api.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        same = ("content-type", "etag", "cache-control")
        assert [head.headers.get(name) for name in same] == [got.headers.get(name) for name in same], path
    assert_problem(await gateway.api.get("/v1/me", headers={"Authorization": ""}), 401)
    assert (await gateway.api.head("/v1/me", headers={"Authorization": ""})).status_code == 401
    for path in ("/v1/stream", f"/v1/tasks/{task['id']}/stream", f"/v1/tasks/{task['id']}/cancel"):
        assert (await gateway.api.head(path)).status_code == 405, path
    [after] = counted.findall((await gateway.api.get("/metrics")).text)
    assert float(after) - sum(map(float, before)) == 1


async def test_a_refused_method_is_told_which_are_allowed(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False)
    for path, allowed in (
        ("/healthz", "GET, HEAD"),
        ("/backlog", "GET, HEAD"),
        ("/v1/tasks", "GET, HEAD, POST"),
        ("/v1/me", "GET, HEAD, PATCH"),
        ("/v1/items/nobody/artifacts/audio", "GET, HEAD"),
        ("/v1/stream", "GET"),
        ("/v1/tasks/nobody/cancel", "POST"),
        ("/v1/clients/nobody", "DELETE"),
    ):
        refusal = await gateway.api.put(path)
        assert_problem(refusal, 405, "method_not_allowed")
        assert refusal.headers["allow"] == allowed, path
