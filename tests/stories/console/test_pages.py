"""The pages: what each shows and to whom, what a form does, and that nothing that is stored acts in them."""

import json
import re
from collections.abc import Container
from typing import Any, Final, get_args
from urllib.parse import quote
from uuid import UUID

import pytest
import sqlalchemy as sa

from app.console import phrases, task_items, text
from app.documents.task_warnings import TaskWarning
from app.limits.hold import Reason
from app.limits.wait_reasons import BACKING_OFF
from app.rules.observation import Disposition
from app.rules.status import ItemStatus, TaskStatus
from app.rules.task import EntryType
from app.tempolor.codes import HOLDING
from app.tempolor.kinds import ARTIFACTS, FAMILIES, KINDS
from tests.stories.console.browser import Browser, opened, words_of
from tests.support.databases import on_sqlite
from tests.support.gateway import ADMIN_KEY, PARAMS, SONG, Running
from tests.support.song_callbacks import done, song

POLICY: Final = (
    "default-src 'self'; media-src *; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
WEBHOOK: Final = "https://hooks.example/x"


@on_sqlite
async def test_every_page_tells_browsers_what_it_may_load(gateway: Running, admin: Browser) -> None:
    task = await gateway.submit()
    pages = ["", "/sign-in", "/tasks", f"/tasks/{task['id']}", "/tasks/nothing", "/try", "/try/song.generate"]
    pages += [
        "/callbacks",
        "/notifications",
        "/nowhere",
        f"/tasks/{task['id']}/live?seen=x",
        "/tasks?view=table&find=x",
    ]
    pages += [f"/tasks/{task['id']}/callbacks", "/items/none/files/stems/members", "/items/none/lyrics.lrc"]
    for path in pages:
        answer = await admin.http.get(f"/console{path}", follow_redirects=True)
        headers = {name: answer.headers.get_list(name) for name in ("content-security-policy", "cache-control")}
        assert headers == {"content-security-policy": [POLICY], "cache-control": ["no-store"]}, path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not re.search(
            r"<script(?![^>]*\ssrc=\"/console/assets/)|<style|\sstyle=|\son\w+=|javascript:", answer.text
        )
        assert not re.findall(r"(?:src|href|action)=\"(?!/console)[^\"#]", answer.text), path


@on_sqlite
async def test_assets_are_kept_for_good_under_the_name_of_their_content(gateway: Running) -> None:
    async with opened(gateway.url) as browser:
        found = set(re.findall(r'"(/console/assets/[^"]+)"', await browser.see("/console/sign-in")))
        assert len(found) == 4
        for path in found:
            answer = await browser.http.get(path)
            assert (answer.status_code, answer.headers.get_list("cache-control")) == (
                200,
                ["public, max-age=31536000, immutable"],
            )
        for path in ("x/console.css", "../routes.py", "README.md", "0/../../pages.py"):
            assert (await browser.http.get(f"/console/assets/{quote(path, safe='')}")).status_code == 404


@on_sqlite
async def test_a_client_sees_its_own_and_an_admin_all(gateway: Running, admin: Browser, studio: Browser) -> None:
    others = await gateway.submit(reference="of the admin", webhook_url=WEBHOOK)
    own = await gateway.api.post(
        "/v1/tasks",
        json={"kind": "song.generate", "params": SONG, "reference": "of the studio", "webhook_url": WEBHOOK},
        headers={"Authorization": f"Bearer {studio.key}"},
    )
    await gateway.call_back("song", done("t2m_admin"), UUID(others["id"]))
    await gateway.call_back("song", done("t2m_studio"), UUID(own.json()["id"]))
    told = (await gateway.api.get("/v1/notifications", params={"task_id": others["id"]})).json()["data"][0]
    listed = words_of(await studio.see("/console/tasks?client=bootstrap"))
    assert ("of the studio" in listed, "of the admin" in listed) == (True, False)
    listed = words_of(await admin.see("/console/tasks"))
    assert ("of the studio" in listed, "of the admin" in listed) == (True, True)
    for path in (
        f"/console/tasks/{others['id']}",
        f"/console/tasks/{others['id']}/live",
        "/console/items/t2m_admin/files/audio",
        f"/console/notifications/{told['id']}",
    ):
        await studio.see(path, 404)
    for change in ("cancel", "refresh", "retry"):
        assert (await studio.post(f"/console/tasks/{others['id']}/{change}")).status_code == 404
    assert (await studio.post(f"/console/notifications/{told['id']}/redeliver")).status_code == 404
    for path in ("/console/callbacks", f"/console/callbacks/{told['id']}"):
        await studio.see(path, 403)
    assert (await studio.post(f"/console/callbacks/{told['id']}/replay")).status_code == 403
    await studio.see("/console/balance", 403)
    # No vendor is there.
    assert "is not known" in await admin.see("/console/balance")


@on_sqlite
async def test_the_form_of_each_kind_submits_it(gateway: Running, admin: Browser) -> None:
    for kind in KINDS:
        await _try(gateway, admin, kind)


async def _try(gateway: Running, admin: Browser, kind: str) -> None:
    page = await admin.see(f"/console/try/{kind}")
    asked = {f"params.{name}": str(value) for name, value in PARAMS[kind].items()}
    for name in asked:
        assert f'name="{name}"' in page
    answer = await admin.post(f"/console/try/{kind}", **asked, once="1", reference="tried")
    assert answer.status_code == 303, words_of(answer.text)
    task = await gateway.task(answer.headers["location"].rpartition("/")[2].partition("?")[0])
    assert (task["kind"], task["params"], task["reference"]) == (kind, PARAMS[kind], "tried")
    twice = await admin.post(f"/console/try/{kind}", **asked, once="1", reference="tried")
    assert twice.headers["location"] == answer.headers["location"]
    other = await admin.post(f"/console/try/{kind}", **asked, once="1", reference="tried again")
    assert other.headers["location"] != answer.headers["location"]


@on_sqlite
async def test_what_is_wrong_with_a_form_stands_beside_its_fields(gateway: Running, admin: Browser) -> None:
    form = {"params.item_id": "", "params.start_time": "soon", "params.lyrics": "kept <b>"}
    answer = await admin.post("/console/try/song.extend", **form)
    assert answer.status_code == 422
    assert re.search(r'id="fault-params.item_id">it is required<', answer.text)
    assert re.search(r'id="fault-params.start_time">it must be a number<', answer.text)
    assert "kept &lt;b&gt;" in answer.text
    answer = await admin.post("/console/try/song.generate", **{"params.prompt": ADMIN_KEY, "params.model": "x"})
    assert (answer.status_code, "holds a secret" in answer.text) == (422, True)
    assert (await gateway.api.get("/v1/tasks")).json()["data"] == []
    await admin.see("/console/try/nothing", 404)


@on_sqlite
async def test_a_callback_is_looked_at_and_read_again(gateway: Running, admin: Browser) -> None:
    task = await gateway.submit()
    assert (await gateway.call_back("song", b'{"songs": <script>', UUID(task["id"]))).status_code == 400
    page = await admin.see("/console/callbacks?disposition=malformed")
    [path] = re.findall(r'href="(/console/callbacks/[\w-]{36})"', page)
    assert "&lt;script&gt;" in await admin.see(path)
    answer = await admin.post(f"{path}/replay")
    assert "still cannot be read" in await admin.see(answer.headers["location"])
    assert (
        re.findall(r'href="(/console/callbacks/[\w-]{36})"', await admin.see("/console/callbacks?disposition=applied"))
        == []
    )


@on_sqlite
async def test_a_notification_is_sent_again(gateway: Running, admin: Browser) -> None:
    task = await gateway.submit(webhook_url=WEBHOOK)
    await gateway.call_back("song", done(), UUID(task["id"]))
    page = await admin.see("/console/notifications?status=pending")
    path = re.findall(r'href="(/console/notifications/[\w-]{36})"', page)[0]
    assert task["id"] in await admin.see(path)
    answer = await admin.post(f"{path}/redeliver")
    assert "It is queued to be sent again." in await admin.see(answer.headers["location"])


HOSTILE: Final = {
    "title": "<script>alert(1)</script>\u202egnp.exe\x00\x1b[31m",
    "style": '"><img src=x onerror=alert(1)>',
    "model": "{{ 7 * 7 }}",
    "lyrics": "</div><svg onload=alert(1)>\ud800" + "x" * 60_000,
    "audio_url": "javascript:alert(1)",
    "audio_hi_url": 'https://cdn.example/a.wav?"><script>alert(1)</script>',
    "odd": "<iframe src=//evil.example>",
    "lyrics_sections": [{"start": 1, "end": 2, "text": "<b>\u2067words"}, {"start": "<", "text": 1}, None, "x"],
}


def _give_up(conn: sa.Connection) -> None:
    conn.execute(sa.text("UPDATE notifications SET status = 'dead', due_at = NULL, last_error = '<script>alert(6)'"))


@on_sqlite
async def test_nothing_that_is_stored_acts_in_a_page(gateway: Running, admin: Browser) -> None:
    asked: dict[str, Any] = {
        "params": {"prompt": "<script>alert(2)</script>" + "y" * 900, "model": "' onfocus=alert(1) autofocus='"},
        "reference": "\u202e<u>" + "z" * 200,
        "metadata": {"<script>": "</pre><script>alert(3)</script>"},
        "webhook_url": 'https://hooks.example/"><script>alert(4)</script>',
    }
    task = await gateway.submit(**asked)
    # As ASCII, since half a character can be sent in no other way.
    body = json.dumps(song(status="succeeded", **HOSTILE)).encode()
    assert (await gateway.call_back("song", body, UUID(task["id"]))).status_code == 200
    told = (await gateway.api.get("/v1/notifications")).json()["data"][0]["id"]
    called = (await gateway.api.get("/v1/callbacks")).json()["data"][0]["id"]
    await gateway.api.post("/v1/submissions/hold", json={"reason": "\u202e<script>alert(5)</script>" + "w" * 100})
    await gateway.gateway.context.db.write(_give_up)
    paths = [
        "tasks",
        f"tasks/{task['id']}",
        "notifications",
        f"notifications/{told}",
        f"callbacks/{called}",
        "",
        "holds",
    ]
    paths += ["tasks?view=table", f"tasks/{task['id']}/live?seen=x", f"tasks/{task['id']}/callbacks", "callbacks", ""]
    paths += ["notifications/dead?days=0", "try/song.extend", "try/stems.create", "holds", "api"]
    for path in paths:
        page = await admin.see(f"/console/{path}")
        assert not re.search(r"<script(?! src=\"/console/assets/[^\"<>]+\" defer></script>)", page), path
        assert not re.search(r"<(img|svg onload|iframe|b|u)[ >]|</pre><script", page), path
        assert not re.search(r"(href|src|action)=\"?'?\s*(javascript|data|vbscript):", page, re.IGNORECASE), path
        assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", page), path
        assert "49" not in re.findall(r"<span class=\"given\">([^<]*)</span>", page)
    answer = await admin.http.get("/console/tasks", params={"find": "<script>alert(1)</script>"})
    assert "<script>alert" not in answer.text


def test_every_word_that_the_gateway_has_is_told_in_words() -> None:
    told: list[tuple[Container[str], set[str]]] = [
        (phrases.TASK, set(TaskStatus)),
        (phrases.ITEM, set(ItemStatus)),
        (phrases.KINDS, set(KINDS)),
        (phrases.FAMILIES, set(FAMILIES)),
        (phrases.ARTIFACTS, set(ARTIFACTS)),
        (phrases.DISPOSITIONS, set(Disposition)),
        (phrases.WARNINGS, set(TaskWarning)),
        (phrases.REASONS, {*Reason, *HOLDING, BACKING_OFF}),
    ]
    for known, words in told:
        assert {word for word in words if word not in known} == set()
    for entry_type in set(get_args(EntryType)) - {"changed"}:
        assert phrases.entry({"type": entry_type, "detail": {}}) != entry_type


def test_every_file_that_is_a_sound_can_be_played() -> None:
    sounds = {name for name, one in ARTIFACTS.items() if all(form.startswith("audio/") for form in one.media_types)}
    assert {*task_items.PLAYED} == sounds


@pytest.mark.parametrize(
    ("url", "links"),
    [
        ("https://a.example/x", True),
        ("http://[::1]:8000/", True),
        ("javascript:alert(1)", False),
        ("JaVaScRiPt:alert(1)", False),
        (" javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("//a.example", False),
        ("https://", False),
        ("http://[broken", False),
        (["https://a.example"], False),
        (None, False),
    ],
)
def test_only_addresses_of_the_web_become_links(url: Any, links: bool) -> None:
    assert text.is_link(url) is links


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.04, "0.0 s"), (59.4, "59 s"), (60, "1 min"), (3700, "1 h 1 min"), (90_000, "1 d 1 h")]
)
def test_lengths_of_time_are_told_by_their_largest_units(seconds: float, shown: str) -> None:
    assert text.since(seconds) == shown


@on_sqlite
async def test_admins_see_who_may_call(gateway: Running, admin: Browser, studio: Browser) -> None:
    await gateway.api.post("/v1/clients", json={"name": "old <b>"})
    await gateway.api.delete("/v1/clients/old <b>")
    page = await admin.see("/console/clients")
    assert "<b>" not in page
    words = words_of(page)
    assert words.index("bootstrap admin") < words.index("studio own tasks") < words.index("old <b> revoked own tasks")
    assert 'href="/console/tasks?client=studio"' in page
    await studio.see("/console/clients", 403)
    # An error has the navigation too.
    assert 'aria-label="Pages"' in await studio.see("/console/clients", 403)
