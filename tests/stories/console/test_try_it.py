"""Try it: what its forms ask, explain and offer, and files that are handed over with the session."""

import html
import re
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from app.archive import uploads
from app.console import kind_forms, phrases
from app.tempolor.kinds import KINDS
from tests.stories.console.browser import Browser, opened, words_of
from tests.support.databases import on_sqlite
from tests.support.gateway import ADMIN_KEY, Running
from tests.support.song_callbacks import done
from tests.support.start_fixtures import StartGateway, StartSandbox

MP3 = b"ID3\x04" + bytes(2000)


def offered(page: str, name: str) -> list[str]:
    """What a field offers to choose from: words beside it, or a list of works."""
    field = re.escape(f"params.{name}")
    list_of = rf'<(?:datalist id="offered-|select class="works" name="chosen\.){field}".*?</(?:datalist|select)>'
    found = re.findall(list_of, page, re.DOTALL)
    return re.findall(r'<option value="([^"]+)"', found[0]) if found else []


@on_sqlite
async def test_each_form_says_what_it_is_for_and_explains_each_field(gateway: Running, admin: Browser) -> None:
    for kind in KINDS:
        page = await admin.see(f"/console/try/{kind}")
        assert phrases.ABOUT[kind].partition(".")[0] in words_of(page)
        for field in kind_forms.fields_of(kind):
            assert field.title != field.name, (kind, field.name)
            assert len(field.help) > 15, (kind, field.name)
            assert f'id="help-params.{field.name}"' in page


@on_sqlite
async def test_a_form_offers_models_that_the_vendor_takes_now(gateway: Running, admin: Browser) -> None:
    assert "tempolor-latest" in offered(await admin.see("/console/try/song.generate"), "model")
    assert offered(await admin.see("/console/try/instrumental.generate"), "model") == ["TemPolor i4", "TemPolor i3"]
    assert offered(await admin.see("/console/try/song.generate"), "action") == ["upload_cover"]


@on_sqlite
async def test_a_model_that_is_held_is_not_offered(start_gateway: StartGateway, start_sandbox: StartSandbox) -> None:
    gateway = await start_gateway(await start_sandbox(retired_models=["TemPolor i4"]), submit_refusals_to_hold=1)
    params = {"prompt": "house", "model": "TemPolor i4"}
    task = await gateway.submit("instrumental.generate", params=params)
    await gateway.until(task["id"], "failed")
    async with opened(gateway.url) as browser:
        await browser.sign_in(ADMIN_KEY)
        assert offered(await browser.see("/console/try/instrumental.generate"), "model") == ["TemPolor i3"]
        assert "TemPolor i4 the vendor does not offer the model" in words_of(await browser.see("/console/holds"))


@on_sqlite
async def test_a_form_offers_the_clients_own_works_and_their_files(
    gateway: Running, admin: Browser, studio: Browser
) -> None:
    task = await gateway.submit(reference="order-17")
    await gateway.call_back("song", done("t2m_1", title="Harbour <Lights>"), UUID(task["id"]))
    page = await admin.see("/console/try/song.extend")
    assert offered(page, "item_id") == ["t2m_1"]
    assert f"Harbour &lt;Lights&gt;, order-17, {task['created_at'][:10]} " in page
    assert offered(await admin.see("/console/try/instrumental.extend"), "item_id") == []
    for kind in ("stems.create", "midi.create"):
        assert offered(await admin.see(f"/console/try/{kind}"), "url") == ["https://cdn.example/a.mp3?auth_key=1"]
        assert offered(await studio.see(f"/console/try/{kind}"), "url") == []
    assert offered(await studio.see("/console/try/song.extend"), "item_id") == []
    # What is chosen counts where nothing is written.
    asked = {"params.start_time": "30", "params.lyrics": "", "params.item_id": "", "chosen.params.item_id": "t2m_1"}
    for written, meant in (("", "t2m_1"), ("t2m_2", "t2m_2")):
        answer = await admin.post("/console/try/song.extend", **asked | {"params.item_id": written})
        made = await gateway.task(answer.headers["location"].rpartition("/")[2].partition("?")[0])
        assert made["params"] == {"item_id": meant, "start_time": 30}


@on_sqlite
async def test_a_work_leads_to_the_forms_that_take_it(gateway: Running, admin: Browser) -> None:
    task = await gateway.submit()
    await gateway.call_back("song", done("t2m_1"), UUID(task["id"]))
    links = re.findall(r'href="(/console/try/[^"?]+\?params[^"]+)"', await admin.see(f"/console/tasks/{task['id']}"))
    assert [link.partition("?")[0].rpartition("/")[2] for link in links] == [
        "song.extend",
        "song.generate",
        "stems.create",
        "midi.create",
    ]
    for link, filled in zip(links, ["t2m_1", *["https://cdn.example/a.mp3?auth_key=1"] * 3], strict=True):
        assert f'value="{filled}"' in await admin.see(html.unescape(link))


@on_sqlite
async def test_a_task_is_edited_and_submitted_again(gateway: Running, admin: Browser, studio: Browser) -> None:
    params = {
        "prompt": "metal, <loud>",
        "model": "m",
        "lyrics": "la\nla",
        "instrumental": True,
        "bpm": 120,
        "style_negative": None,
    }
    task = await gateway.submit(params=params, reference="order-17")
    await gateway.api.post(f"/v1/tasks/{task['id']}/cancel")
    path = f"/console/try/song.generate?like={task['id']}"
    assert html.escape(path, quote=False) in await admin.see(f"/console/tasks/{task['id']}")
    page = await admin.see(path)
    assert re.findall(r"<textarea[^>]*>\n([^<]*)</textarea>", page) == ["metal, &lt;loud&gt;", "la\nla"]
    assert re.search(r'<input type="checkbox" id="params.instrumental"[^>]* checked>', page)
    assert 'value="order-17"' in page
    # What has no field here is not lost unseen.
    assert "Not in this form, and left out: bpm ." in words_of(page)
    await studio.see(path, 404)


@on_sqlite
async def test_a_form_is_filled_by_its_address_with_text_alone(gateway: Running, admin: Browser) -> None:
    page = await admin.see('/console/try/song.extend?params.item_id="><script>&params.start_time=30&once=1')
    assert 'value="&#34;&gt;&lt;script&gt;"' in page
    assert 'value="30"' in page
    assert 'name="once" value="1"' not in page


@on_sqlite
async def test_faults_are_told_at_the_top_and_lead_to_their_fields(gateway: Running, admin: Browser) -> None:
    answer = await admin.post("/console/try/song.generate", **{"params.upload_audio_url": "ftp://x", "reference": "r"})
    assert answer.status_code == 422
    assert "It is not submitted yet." in answer.text
    for field in ("prompt", "model", "upload_audio_url"):
        assert f'<a href="#params.{field}">' in answer.text
        assert f'aria-describedby="fault-params.{field} help-params.{field}"' in answer.text
    # What was put away is open where something is wrong in it.
    assert '<details class="away" open>' in answer.text


@on_sqlite
@pytest.mark.real_time
async def test_a_file_is_uploaded_with_the_session_and_used(start_gateway: StartGateway, tmp_path: Path) -> None:
    gateway = await start_gateway(archive_url=f"file://{tmp_path}", workers=False)
    async with opened(gateway.url) as browser:
        await browser.sign_in(ADMIN_KEY)
        page = await browser.see("/console/try/stems.create")
        [url] = re.findall(r'data-url="([^"]+)"', page)
        [token] = re.findall(r'data-csrf="([^"]+)"', page)
        signed = {"X-CSRF-Token": token}
        assert (await browser.http.post(url, content=MP3)).status_code == 403
        assert (await browser.http.post(url, content=b"MZ" + bytes(2000), headers=signed)).status_code == 422
        answer = await browser.http.post(url, params={"filename": "a.mp3"}, content=MP3, headers=signed)
        assert answer.status_code == 201, answer.text
        reference = answer.json()["url"]
        posted = await browser.post("/console/try/stems.create", **{"params.url": reference})
        assert posted.status_code == 303, words_of(posted.text)
        posted = await browser.post("/console/try/stems.create", **{"params.url": reference[:-1] + "x"})
        assert (posted.status_code, 'id="fault-params.url"' in posted.text) == (422, True)


@on_sqlite
async def test_without_an_archive_a_form_says_that_it_takes_no_file(gateway: Running, admin: Browser) -> None:
    page = await admin.see("/console/try/midi.create")
    assert "data-url" not in page
    assert "GATEWAY_ARCHIVE_URL" in page


@on_sqlite
@pytest.mark.real_time
async def test_a_file_is_sent_with_the_form_where_no_script_runs(start_gateway: StartGateway, tmp_path: Path) -> None:
    gateway = await start_gateway(archive_url=f"file://{tmp_path}", workers=False)
    async with opened(gateway.url) as browser:
        await browser.sign_in(ADMIN_KEY)
        page = await browser.see("/console/try/stems.create")
        assert 'enctype="multipart/form-data"' in page
        [name] = re.findall(r'<input type="file" name="([^"]+)"', page)
        fields = {"csrf": await browser.token(), "once": "1", "params.url": "", "reference": "by the form"}

        async def post(content: bytes, media_type: str = "application/x-whatever", **changed: str) -> httpx.Response:
            ending = "mp3" if media_type == "application/x-whatever" else media_type.partition("/")[2]
            files = {name: (f"harbour lights.{ending}", content, media_type)}
            return await browser.http.post("/console/try/stems.create", data=fields | changed, files=files)

        answer = await post(MP3)
        assert answer.status_code == 303, words_of(answer.text)
        task = await gateway.task(answer.headers["location"].rpartition("/")[2].partition("?")[0])
        assert re.fullmatch(r"upload:[0-9a-f-]{36}", task["params"]["url"])
        assert task["reference"] == "by the form"
        [stored] = tmp_path.glob("**/*.mp3")
        assert (stored.name, stored.read_bytes()) == ("harbour lights.mp3", MP3)
        # Sent twice it is one task, although the file lies there twice.
        assert (await post(MP3)).headers["location"] == answer.headers["location"]
        assert (await post(MP3 + b"x")).headers["location"] != answer.headers["location"]
        refused = await post(b"MZ" + bytes(2000), reference="kept")
        assert (refused.status_code, "is not mp3, WAV or FLAC" in refused.text) == (422, True)
        assert 'id="fault-params.url"' in refused.text
        assert 'value="kept"' in refused.text
        too_large = await post(MP3 + bytes(uploads.MOST_BYTES))
        assert (too_large.status_code, f"over {uploads.MOST_BYTES} bytes" in too_large.text) == (422, True)
        stolen = await post(MP3, csrf="of another session")
        assert stolen.status_code == 403
        assert (await post(b"")).status_code == 422
        assert (await post(b"OggS" + bytes(100), "audio/ogg")).status_code == 303
        assert (await post(b"MZ" + bytes(100), "audio/mp3")).status_code == 422
        without = await browser.http.post("/console/try/stems.create", data=fields, files={name: ("", b"")})
        assert (without.status_code, 'id="fault-params.url">it is required<' in without.text) == (422, True)
        assert len([*tmp_path.glob("**/*.mp3")]) == 3


@on_sqlite
async def test_a_form_in_parts_has_the_limits_of_a_form_and_an_upload(gateway: Running, admin: Browser) -> None:
    async def post(content: bytes, kind: str = "multipart/form-data; boundary=b", **headers: str) -> int:
        headers = {"Content-Type": kind, **headers}
        return (await admin.http.post("/console/try/midi.create", content=content, headers=headers)).status_code

    def part(head: str, body: bytes) -> bytes:
        return f"--b\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + body + b"\r\n"

    signed, end = part('name="csrf"', (await admin.token()).encode()), b"--b--\r\n"
    file = part('name="file:params.url"; filename="a.mp3"', MP3)
    assert await post(signed + part('name="params.url"', b"\xff") + end) == 422
    assert await post(signed + part('name="params.url"', b"x" * 600_000) + end) == 413
    assert await post(signed + b"".join(part(f'name="{number}"', b"") for number in range(200)) + end) == 422
    for broken in (b"", signed, b"no parts", signed.replace(b"--b", b"--c")):
        assert await post(broken) == 422, broken
    assert await post(signed + end, "multipart/form-data") == 422
    # Nothing is kept here.
    assert await post(signed + file + end) == 501
    # The token comes first, and nothing is taken without one.
    assert await post(file + signed + end) == 403
    assert await post(signed + end, **{"Sec-Fetch-Site": "cross-site"}) == 403
