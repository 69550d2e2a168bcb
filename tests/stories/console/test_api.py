"""The API by a session: the same answers as by a key, only with the session's token, and only for its client."""

import re
from typing import Any

import httpx

from tests.stories.console.browser import Browser
from tests.support.databases import on_sqlite
from tests.support.gateway import SONG, Running
from tests.support.server_sent_events import stream


async def _call(browser: Browser, method: str, path: str, **more: Any) -> httpx.Response:
    """What a script of the console calls."""
    headers = {"X-CSRF-Token": await browser.token()} | more.pop("headers", {})
    return await browser.http.request(method, f"/console/api{path}", headers=headers, **more)


@on_sqlite
async def test_a_session_calls_the_api_as_its_client(gateway: Running, admin: Browser, studio: Browser) -> None:
    others = await gateway.submit()
    made = await _call(studio, "POST", "/v1/tasks", json={"kind": "song.generate", "params": SONG})
    assert (made.status_code, made.json()["client"]) == (202, "studio")
    assert made.headers["location"] == f"/v1/tasks/{made.json()['id']}"
    listed = await _call(studio, "GET", "/v1/tasks", params={"limit": 10})
    assert [task["id"] for task in listed.json()["data"]] == [made.json()["id"]]
    assert listed.headers["cache-control"] == "no-store"
    assert (await _call(studio, "GET", f"/v1/tasks/{others['id']}")).status_code == 404
    assert (await _call(admin, "GET", f"/v1/tasks/{others['id']}")).json()["id"] == others["id"]
    assert (await _call(studio, "GET", "/v1/clients")).status_code == 403
    assert (await _call(admin, "GET", "/v1/clients")).status_code == 200
    # Problems, limits and unknown parameters are the API's.
    wrong = await _call(studio, "POST", "/v1/tasks", json={"kind": "song.generate", "params": {}})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_request")
    assert (await _call(studio, "GET", "/v1/tasks", params={"odd": 1})).status_code == 422
    assert (await _call(studio, "POST", "/v1/tasks", content=b"x" * 2_000_000)).status_code == 413
    head = await _call(studio, "HEAD", "/v1/tasks")
    assert (head.status_code, head.content) == (200, b"")
    deleted = await _call(studio, "DELETE", "/v1/tasks")
    assert (deleted.status_code, deleted.headers["allow"]) == (405, "GET, HEAD, POST")
    # What an admin does so is on the audit log, under its name.
    await _call(admin, "POST", "/v1/submissions/hold", json={"reason": "tried"})
    [act] = [one for one in (await gateway.api.get("/v1/audit")).json()["data"] if one["action"] == "submissions.hold"]
    assert act["actor"] == "bootstrap"


@on_sqlite
async def test_a_stream_goes_through_as_it_comes(gateway: Running, admin: Browser) -> None:
    task = await gateway.submit()
    headers = {"X-CSRF-Token": await admin.token()}
    path = f"/console/api/v1/tasks/{task['id']}/stream"
    async with stream(admin.http, path, headers=headers) as events:
        assert (await events.next())["status"] == "queued"
        await gateway.api.post(f"/v1/tasks/{task['id']}/cancel")
        assert (await events.next())["status"] == "canceled"


@on_sqlite
async def test_no_call_without_the_token_of_the_session(gateway: Running, admin: Browser, studio: Browser) -> None:
    good = await admin.token()
    cases: list[tuple[dict[str, str], int]] = [
        ({}, 403),
        ({"X-CSRF-Token": ""}, 403),
        ({"X-CSRF-Token": await studio.token()}, 403),
        ({"X-CSRF-Token": good, "Sec-Fetch-Site": "cross-site"}, 403),
        ({"X-CSRF-Token": good, "Sec-Fetch-Site": "same-site"}, 403),
        ({"X-CSRF-Token": good, "Sec-Fetch-Site": "same-origin"}, 200),
    ]
    for headers, status in cases:
        answer = await admin.http.get("/console/api/v1/tasks", headers=headers)
        assert answer.status_code == status, headers
        assert status == 200 or answer.json()["code"] == "forbidden"
    # A key does not stand in for the session, and a session not for the key.
    with_key = {"Authorization": gateway.api.headers["authorization"]}
    answer = await gateway.api.get("/console/api/v1/tasks", headers=with_key)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    cookies = {"gateway_console": admin.http.cookies["gateway_console"]}
    async with httpx.AsyncClient(base_url=gateway.url, cookies=cookies, trust_env=False, verify=False) as http:
        assert (await http.get("/v1/tasks", headers={"X-CSRF-Token": good})).status_code == 401


@on_sqlite
async def test_nothing_but_the_api_is_reached_so(gateway: Running, admin: Browser) -> None:
    for path in ("/v1/../console", "/v1//console", "/v1/%2e%2e/metrics", "/v1/", "/v1/console/api/v1/tasks"):
        answer = await _call(admin, "GET", path)
        assert answer.status_code in (403, 404), path
        assert "gateway_" not in answer.text.replace("gateway_console", ""), path
    for path in ("/metrics", "/callbacks/song/x", "/v2/tasks"):
        assert (await _call(admin, "GET", path)).status_code == 404


@on_sqlite
async def test_pages_of_allowed_origins_cannot_call_by_a_session(start_gateway: Any, database_url: str) -> None:
    gateway = await start_gateway(cors_allow_origins=["https://studio.example"])
    asked = {
        "Origin": "https://studio.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "x-csrf-token",
    }
    answer = await gateway.api.options("/console/api/v1/tasks", headers=asked)
    assert answer.status_code == 400


@on_sqlite
async def test_the_reference_is_for_who_is_signed_in_and_loads_nothing_from_elsewhere(
    gateway: Running, studio: Browser
) -> None:
    page = await studio.see("/console/api")
    assert "studio" in page
    answer = await studio.http.get("/console/api")
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "http" not in policy
    assert (await gateway.api.get("/console/api", headers={"Authorization": ""})).status_code == 303
    # It is large, and comes packed.
    [path] = re.findall(r'"(/console/assets/[^"]+/swagger-ui-bundle.js)"', page)
    packed, plain = [
        await studio.http.get(path, headers={"Accept-Encoding": coding}) for coding in ("gzip", "identity")
    ]
    assert (packed.headers["content-encoding"], "content-encoding" in plain.headers) == ("gzip", False)
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 3
    assert packed.content == plain.content
