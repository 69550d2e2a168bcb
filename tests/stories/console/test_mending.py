"""What is mended by hand: submissions held and released, dead notifications sent again by the number, and what the
inbox finds."""

import re
from typing import Any, Final, get_args
from uuid import UUID

from app.console import phrases
from app.console.pages import HEADERS
from app.notifications.post import FailReason, ForbidReason
from tests.stories.console.browser import Browser, words_of
from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.gateway import SONG, Running
from tests.support.song_callbacks import done

WEBHOOK: Final = "https://hooks.example/x"


@on_sqlite
async def test_submissions_are_held_with_a_reason_and_released(
    gateway: Running, admin: Browser, studio: Browser
) -> None:
    await gateway.submit()
    page = words_of(await admin.see("/console/holds"))
    for wanted in ("Nothing is on hold", "0 of 10 slots", "bootstrap 1 task"):
        assert wanted in page
    answer = await admin.post("/console/holds/hold", reason="  mending <b>\r\n the receiver ")
    page = await admin.see(answer.headers["location"])
    assert "Submissions are held until somebody releases them." in words_of(page)
    assert "“ mending <b> the receiver ”" in words_of(page)
    shown = (await gateway.api.get("/v1/submissions")).json()["standing_still"]["submissions"]
    assert (shown["reason"], shown["detail"]) == ("held_by_hand", "mending <b> the receiver")
    answer = await admin.post("/console/holds/release")
    page = words_of(await admin.see(answer.headers["location"]))
    assert "Submissions are released." in page
    assert "Nothing is on hold" in page
    await studio.see("/console/holds", 403)
    for change in ("hold", "release"):
        assert (await studio.post(f"/console/holds/{change}")).status_code == 403
    assert (await admin.post("/console/holds/hold", reason="x" * 501)).status_code == 422
    acts = [act["action"] for act in (await gateway.api.get("/v1/audit")).json()["data"]]
    assert sorted(acts) == ["clients.create", "submissions.hold", "submissions.release"]


async def test_dead_notifications_are_counted_by_client_and_then_sent_again(
    gateway: Running, db: Direct, admin: Browser, studio: Browser
) -> None:
    headers = {"Authorization": f"Bearer {studio.key}"}
    body = {"kind": "song.generate", "params": SONG, "webhook_url": WEBHOOK}
    own = (await gateway.api.post("/v1/tasks", json=body, headers=headers)).json()
    others = [await gateway.submit(webhook_url=WEBHOOK) for _ in range(2)]
    for number, task in enumerate([own, *others]):
        await gateway.call_back("song", done(f"t2m_{number}"), UUID(task["id"]))
    made = (await gateway.api.post("/v1/clients", json={"name": "gone"})).json()
    gone = {"Authorization": f"Bearer {made['api_key']}"}
    lost = (await gateway.api.post("/v1/tasks", json=body, headers=gone)).json()
    await gateway.call_back("song", done("t2m_9"), UUID(lost["id"]))
    assert (await gateway.api.delete("/v1/clients/gone")).status_code == 204
    await db.execute("UPDATE notifications SET status = 'dead', due_at = NULL")

    async def dead(browser: Browser) -> int:
        page = words_of(await browser.see("/console/notifications?status=dead"))
        return page.count("Dead") - 1

    each = len(re.findall("task\\.", words_of(await studio.see("/console/notifications"))))
    page = words_of(await admin.see("/console/notifications/dead?days=0"))
    assert f"{3 * each} dead of all that are kept" in page
    assert "gone" not in page
    assert f"bootstrap {2 * each} dead" in page
    page = words_of(await studio.see("/console/notifications/dead"))
    assert (f"studio {each} dead" in page, "bootstrap" in page) == (True, False)
    # A client sends its own again, whatever name it posts.
    answer = await studio.post("/console/notifications/dead", days=7, client="bootstrap")
    assert answer.headers["location"].endswith("sent=0")
    answer = await studio.post("/console/notifications/dead", days=7)
    assert f"Being sent again: {each}." in words_of(await studio.see(answer.headers["location"]))
    assert (await dead(studio), await dead(admin)) == (0, 3 * each)
    answer = await admin.post("/console/notifications/dead", days=7, client="bootstrap")
    assert answer.headers["location"] == f"/console/notifications/dead?days=7&sent={2 * each}"
    assert "None is dead" in words_of(await admin.see("/console/notifications/dead?days=0"))
    assert await dead(admin) == each


@on_sqlite
async def test_what_is_stored_acts_in_none_of_these_pages(gateway: Running, admin: Browser) -> None:
    task = await gateway.submit(webhook_url=WEBHOOK, reference='"><img src=x>')
    await gateway.call_back("song", done("t2m_1", title="<script>alert(1)</script>\u202e"), UUID(task["id"]))
    await admin.post("/console/holds/hold", reason="</li><script>alert(1)</script>\u202e")
    for path in ("/console/holds", "/console/notifications/dead", "/console/try/song.extend", "/console/link"):
        answer = await admin.http.get(path)
        assert answer.headers.get_list("content-security-policy") == [HEADERS["Content-Security-Policy"]], path
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert not re.search(r"<(img|svg|iframe)|<script(?![^>]*\ssrc=)|\sstyle=|\son\w+=|\u202e", answer.text), path


@on_sqlite
async def test_the_inbox_finds_callbacks_by_what_became_of_them_in_words(gateway: Running, admin: Browser) -> None:
    task = await gateway.submit()
    bodies: list[Any] = [done("t2m_1"), done("t2m_1"), b"{"]
    for body in bodies:
        await gateway.call_back("song", body, UUID(task["id"]))
    await gateway.call_back("song", done("t2m_2"), UUID("0192aaaa-0000-7000-8000-000000000000"))

    async def found(disposition: str) -> list[str]:
        page = await admin.see(f"/console/callbacks?disposition={disposition}")
        return re.findall(r'href="/console/callbacks/([\w-]{36})"', page)

    counts = {one: len(await found(one)) for one in ("", "applied", "malformed", "orphan", "repeated", "poisoned")}
    assert counts == {"": 3, "applied": 1, "malformed": 1, "orphan": 1, "repeated": 1, "poisoned": 0}
    assert await found("repeated") == await found("applied")
    page = words_of(await admin.see("/console/callbacks?disposition=orphan"))
    for wanted in ("Unknown task", "Malformed", "Repeated", "Their task is not here"):
        assert wanted in page


def test_every_reason_of_a_failed_delivery_is_told_in_words() -> None:
    others = {"client_revoked", "gone", "rejected", "unreadable"}
    assert set(phrases.DELIVERY) == {*get_args(FailReason), *get_args(ForbidReason), *others}
    assert set(phrases.INBOX_HELP) == set(phrases.INBOX)
