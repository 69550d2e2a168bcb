"""Signing in: only with a key, only for twelve hours, only as long as the key is good; and no key shows anywhere."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx
from fastapi.routing import APIRoute

from app.console import holds, logs, sign_in, task_actions, try_it
from app.console.session import LIFETIME, Sessions
from tests.stories.console.browser import Browser, opened, words_of
from tests.support.databases import on_sqlite
from tests.support.gateway import ADMIN_KEY, Running

SIGN_IN: Final = {"/console/sign-in", "/console/link"}
"""What begins a session."""
CHANGES: Final = [
    route.path
    for router in (sign_in.router, task_actions.router, try_it.router, logs.router, holds.router)
    for route in router.routes
    if isinstance(route, APIRoute) and "POST" in (route.methods or ()) and route.path not in SIGN_IN
]


@on_sqlite
async def test_the_root_leads_to_the_console_and_the_console_to_the_form(gateway: Running) -> None:
    async with opened(gateway.url) as browser:
        assert (await browser.http.get("/")).headers["location"] == "/console"
        answer = await browser.http.get("/console")
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/sign-in")
        answer = await browser.http.get("/console/tasks/0192aaaa-0000-7000-8000-000000000000")
        assert answer.headers["location"].endswith("?next=/console/tasks/0192aaaa-0000-7000-8000-000000000000")


@on_sqlite
async def test_a_session_is_a_strict_cookie_that_holds_no_key(gateway: Running) -> None:
    async with opened(gateway.url) as browser:
        answer = await browser.http.post("/console/sign-in", data={"key": ADMIN_KEY, "next": "/console/tasks"})
        assert answer.headers["location"] == "/console/tasks"
        [cookie] = answer.headers.get_list("set-cookie")
        flags = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert flags == {"httponly", "max-age=43200", "path=/console", "samesite=strict"}
        assert ADMIN_KEY not in cookie
        for path in ("/console", "/console/tasks", "/console/try"):
            assert ADMIN_KEY not in await browser.see(path)


@on_sqlite
async def test_signing_in_leads_to_no_other_place(gateway: Running) -> None:
    async with opened(gateway.url) as browser:
        for wanted in ("https://evil.example", "//evil.example", "/console//evil", "/v1/tasks", "/console\\x"):
            answer = await browser.http.post("/console/sign-in", data={"key": ADMIN_KEY, "next": wanted})
            assert answer.headers["location"] == "/console", wanted


@on_sqlite
async def test_the_cookie_is_for_https_alone_where_the_request_came_so(gateway: Running) -> None:
    transport = httpx.ASGITransport(gateway.gateway.app())
    async with httpx.AsyncClient(transport=transport, base_url="https://gateway.example") as http:
        answer = await http.post("/console/sign-in", data={"key": ADMIN_KEY})
    assert "secure" in answer.headers["set-cookie"].lower()


@on_sqlite
async def test_wrong_keys_are_refused_and_counted(gateway: Running) -> None:
    gateway.gateway.services.meter.most_failures = 3
    async with opened(gateway.url) as browser:
        for _ in range(3):
            answer = await browser.http.post("/console/sign-in", data={"key": "x" * 40})
            assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
        answer = await browser.http.post("/console/sign-in", data={"key": "x" * 40})
        assert (answer.status_code, answer.headers["retry-after"].isdigit()) == (429, True)
        # They are the same failures as the API's, and a right key is never throttled.
        assert (await browser.http.get("/v1/tasks", headers={"Authorization": "Bearer x"})).status_code == 429
        await browser.sign_in(ADMIN_KEY)


@on_sqlite
async def test_a_session_ends_with_its_key(gateway: Running, studio: Browser) -> None:
    assert "studio" in words_of(await studio.see("/console"))
    assert (await gateway.api.delete("/v1/clients/studio")).status_code == 204
    answer = await studio.http.get("/console")
    assert answer.headers["location"] == "/console/sign-in"
    part = await studio.http.get("/console/balance", headers={"HX-Request": "true"})
    assert part.headers["hx-redirect"] == "/console/sign-in"


@on_sqlite
async def test_a_session_ends_after_its_time(gateway: Running) -> None:
    clock = gateway.gateway.context.clock
    async with opened(gateway.url) as browser:
        await browser.sign_in(ADMIN_KEY)
        cookie = browser.http.cookies["gateway_console"]
        sessions = gateway.gateway.services.sessions
        begun = sessions.read(cookie, clock.now())
        assert begun is not None
        assert LIFETIME - timedelta(minutes=1) < begun.ends_at - clock.now() <= LIFETIME
        assert sessions.read(cookie, begun.ends_at - timedelta(seconds=1)) == begun
        assert sessions.read(cookie, begun.ends_at) is None
        # And the route asks with its own clock.
        browser.http.cookies.set(
            "gateway_console", sessions.begin(begun.key_digest, clock.now() - LIFETIME), path="/console"
        )
        assert (await browser.http.get("/console")).status_code == 303


def test_a_session_is_of_its_secrets_and_of_nothing_else() -> None:
    now, digest = datetime(2026, 1, 1, tzinfo=UTC), b"k" * 32
    old, new = "o" * 40, "n" * 40
    cookie = Sessions([old]).begin(digest, now)
    read = Sessions([new, old]).read(cookie, now)
    assert read is not None
    assert read.key_digest == digest
    assert Sessions([new]).read(cookie, now) is None
    for place in range(len(cookie)):
        forged = cookie[:place] + ("A" if cookie[place] != "A" else "B") + cookie[place + 1 :]
        assert Sessions([old]).read(forged, now) is None, place
    for nothing in ("", "x", cookie[:-1], cookie + "A", "é" * 107):
        assert Sessions([old]).read(nothing, now) is None
    another = Sessions([old]).read(Sessions([old]).begin(digest, now), now)
    assert another is not None
    assert another.csrf != read.csrf


@on_sqlite
async def test_no_change_without_the_token_of_the_session(gateway: Running, admin: Browser, studio: Browser) -> None:
    task = await gateway.submit()
    assert len(CHANGES) == 14
    for path in CHANGES:
        url = re.sub(r"\{\w+\}", task["id"], path)
        for form in ({}, {"csrf": ""}, {"csrf": await studio.token()}):
            assert (await admin.http.post(url, data=form)).status_code == 403, (url, form)
    assert (await gateway.task(task["id"]))["status"] == "queued"
    token = {"csrf": await admin.token()}
    path = f"/console/tasks/{task['id']}/cancel"
    elsewhere = await admin.http.post(path, data=token, headers={"Sec-Fetch-Site": "cross-site"})
    assert elsewhere.status_code == 403
    assert (await admin.http.post(path, data=token, headers={"Sec-Fetch-Site": "same-origin"})).status_code == 303
    assert (await gateway.task(task["id"]))["status"] == "canceled"


@on_sqlite
async def test_signing_out_forgets_the_session(gateway: Running, admin: Browser) -> None:
    answer = await admin.post("/console/sign-out")
    assert answer.headers["location"] == "/console/sign-in"
    assert (await admin.http.get("/console")).status_code == 303
