"""A kept file over HTTP: whole, in ranges, conditionally; by key, by link, and one file of a zip by itself."""

import hashlib
import io
import random
import struct
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from uuid import UUID

import httpx
import pytest

from tests.stories.archive.test_copying import _archived, _ended_song
from tests.support.fast_clock import ScaledClock
from tests.support.file_server import MP3, WAV, File, FileServer
from tests.support.gateway import Running
from tests.support.notifications import client_of
from tests.support.song_callbacks import assert_problem, song
from tests.support.start_fixtures import StartGateway

pytestmark = pytest.mark.real_time

PATH = "/v1/items/t2m_1/artifacts/audio"


@pytest.fixture
async def kept(gateway: Running, files: FileServer) -> Any:
    files.files |= {"a.mp3": File(MP3), "a.wav": File(WAV)}
    task = await _ended_song(gateway, files)
    await _archived(gateway, task["id"], "audio_hi")
    return await _archived(gateway, task["id"], "audio")


async def test_a_kept_file_is_served_whole_and_in_ranges(gateway: Running, kept: Any) -> None:
    whole = await gateway.api.get(PATH)
    assert (whole.status_code, whole.content) == (200, MP3)
    etag = f'"{hashlib.sha256(MP3).hexdigest()}"'
    assert (whole.headers["etag"], whole.headers["content-type"]) == (etag, "audio/mpeg")
    assert whole.headers["accept-ranges"] == "bytes"
    assert unquote(whole.headers["content-disposition"].partition("filename*=UTF-8''")[2]) == "Häfen Lichter.mp3"
    head = await gateway.api.head(PATH)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(MP3)))
    for wanted, piece in (("0-9", MP3[:10]), ("100-", MP3[100:]), ("-7", MP3[-7:]), ("5-99999999", MP3[5:])):
        answer = await gateway.api.get(PATH, headers={"Range": f"bytes={wanted}"})
        assert (answer.status_code, answer.content) == (206, piece), wanted
        start = len(MP3) - len(MP3[100:]) if wanted == "100-" else None
        if start is not None:
            assert answer.headers["content-range"] == f"bytes 100-{len(MP3) - 1}/{len(MP3)}"
    several = await gateway.api.get(PATH, headers={"Range": "bytes=0-1,5-6"})
    assert (several.status_code, several.content) == (200, MP3)
    for wanted in (f"{len(MP3)}-", "9-3", "x", "-"):
        answer = await gateway.api.get(PATH, headers={"Range": f"bytes={wanted}"})
        assert_problem(answer, 416, "range_not_satisfiable")
        assert answer.headers["content-range"] == f"bytes */{len(MP3)}"
    assert (await gateway.api.get(PATH, headers={"If-None-Match": etag})).status_code == 304
    for validator, status in ((etag, 206), ('"other"', 200)):
        answer = await gateway.api.get(PATH, headers={"Range": "bytes=0-9", "If-Range": validator})
        assert answer.status_code == status


async def test_a_link_is_good_without_a_key_and_a_forged_one_is_not(gateway: Running, kept: Any) -> None:
    url = kept["items"][0]["artifacts"]["audio"]["archive"]["url"]
    token = url.split("/")[-2]
    async with httpx.AsyncClient(trust_env=False) as browser:
        answer = await browser.get(url, headers={"Range": "bytes=0-9"})
        assert (answer.status_code, answer.content) == (206, MP3[:10])
        assert (await browser.head(url)).headers["content-length"] == str(len(MP3))
        changed = [token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :] for at in range(len(token))]
        for forged in (*changed, token[:-1], token[1:], token + "A", "", "%00", "x" * 5000):
            refused = await browser.get(f"{gateway.url}/files/{forged}/a.mp3")
            assert refused.status_code == (403 if forged else 404), forged
            assert MP3[:10] not in refused.content
        callback = gateway.callback_url("song", UUID(kept["id"])).rpartition("/")[2]
        assert (await browser.get(f"{gateway.url}/files/{callback}/a.mp3")).status_code == 403
        # The name is for people.
        assert (await browser.get(f"{gateway.url}/files/{token}/other")).content == MP3


async def test_others_have_no_file_and_what_is_not_there_is_said(gateway: Running, kept: Any) -> None:
    other = await client_of(gateway, "radio")
    assert_problem(await gateway.api.get(PATH, headers=other.headers), 404)
    assert_problem(await gateway.api.get("/v1/items/t2m_1/artifacts/none"), 404, "artifact_unknown")
    assert_problem(await gateway.api.get("/v1/items/none/artifacts/audio"), 404)
    task = await gateway.submit()
    await gateway.call_back("song", song("t2m_2", "running"), UUID(task["id"]))
    assert_problem(await gateway.api.get("/v1/items/t2m_2/artifacts/audio"), 409, "artifact_not_ready")


async def test_what_is_kept_needs_no_new_link(
    start_gateway: StartGateway, files: FileServer, directory: Path, clock: ScaledClock
) -> None:
    """Nobody answers for the vendor here: a question would make it 503."""
    gateway = await start_gateway(archive_url=f"file://{directory}", egress_allow_private=True, clock=clock)
    files.files |= {"a.mp3": File(MP3), "a.wav": File(WAV)}
    task = await _ended_song(gateway, files)
    for name in ("audio", "audio_hi"):
        await _archived(gateway, task["id"], name)
    clock.skip(4 * 86400)
    shown = (await gateway.task(task["id"]))["items"][0]["artifacts"]["audio"]
    assert datetime.fromisoformat(shown["expires_at"]) < clock.now()
    answer = await gateway.api.post(f"/v1/tasks/{task['id']}/refresh")
    assert answer.status_code == 200, answer.text
    assert [item["last_query_at"] for item in answer.json()["items"]] == [None]


async def test_the_vendors_link_is_a_header_whatever_letters_it_has(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False)
    task = await gateway.submit()
    url = "https://cdn.example/歌 1\r\nX-Evil: 1/a.mp3?auth_key=1-%2Fa&b=[c]"
    body = song("t2m_1", "succeeded", audio_url=url)
    assert (await gateway.call_back("song", body, UUID(task["id"]))).status_code == 200
    answer = await gateway.api.get(PATH)
    assert (answer.status_code, "x-evil" in answer.headers) == (307, False)
    location = answer.headers["location"]
    assert location == "https://cdn.example/%E6%AD%8C%201%0D%0AX-Evil:%201/a.mp3?auth_key=1-%2Fa&b=[c]"


async def test_one_id_may_be_that_of_items_of_two_families(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False)
    for kind, family, listed, name in (
        ("song.generate", "song", "songs", "audio_url"),
        ("midi.create", "midi", "midis", "midi_url"),
    ):
        task = await gateway.submit(kind)
        body = {listed: [{"item_id": "t2m_1", "status": "succeeded", name: f"https://cdn.example/{family}"}]}
        assert (await gateway.call_back(family, body, UUID(task["id"]))).status_code == 200
    for name, family in (("audio", "song"), ("midi", "midi")):
        answer = await gateway.api.get(f"/v1/items/t2m_1/artifacts/{name}")
        assert (answer.status_code, answer.headers["location"]) == (307, f"https://cdn.example/{family}")
    assert_problem(await gateway.api.get("/v1/items/t2m_1/artifacts/none"), 404, "artifact_unknown")


async def test_of_a_file_that_never_came_no_link_has_expired(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False)
    task = await gateway.submit()
    body = song("t2m_1", "part_failed", audio_hi_status="sub_failed", audio_url="https://cdn.example/a.mp3")
    assert (await gateway.call_back("song", body, UUID(task["id"]))).status_code == 200
    refused = await gateway.api.get("/v1/items/t2m_1/artifacts/audio_hi")
    assert assert_problem(refused, 410, "artifact_gone")["detail"] == "the file has not come"


async def test_of_several_files_none_is_the_one(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False)
    task = await gateway.submit("stems.create")
    urls = ["https://cdn.example/drums.wav", "https://cdn.example/bass.wav"]
    body = {"stems": [{"item_id": "stem_1", "status": "succeeded", "stems_url": urls}]}
    assert (await gateway.call_back("stems", body, UUID(task["id"]))).status_code == 200
    [item] = (await gateway.task(task["id"]))["items"]
    assert item["artifacts"]["stems"]["url"] == urls
    refused = await gateway.api.get("/v1/items/stem_1/artifacts/stems")
    assert "several files" in assert_problem(refused, 410, "artifact_gone")["detail"]


async def test_a_store_that_is_away_or_lost_a_file_is_no_fault_of_ours(
    gateway: Running, kept: Any, directory: Path
) -> None:
    link = urlsplit(kept["items"][0]["artifacts"]["audio"]["archive"]["url"]).path
    next(directory.rglob("audio.mp3")).unlink()
    for path in (PATH, link):
        assert_problem(await gateway.api.get(path), 410, "artifact_gone")
        assert (await gateway.api.head(path)).status_code == 410
    directory.rename(directory.with_name("moved"))
    directory.write_bytes(b"no directory")
    for path in ("/v1/items/t2m_1/artifacts/audio_hi", PATH):
        refused = await gateway.api.get(path)
        assert refused.headers["retry-after"]
        assert_problem(refused, 503, "unavailable")
    assert_problem(await gateway.api.post("/v1/uploads", content=MP3), 503, "unavailable")


async def test_without_a_copy_the_vendors_link_is_named_while_it_is_good(
    start_gateway: StartGateway, files: FileServer, clock: ScaledClock
) -> None:
    gateway = await start_gateway(workers=False, egress_allow_private=True, clock=clock)
    files.files |= {"a.mp3": File(MP3)}
    await _ended_song(gateway, files)
    answer = await gateway.api.get(PATH, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, files.url("a.mp3"))
    clock.skip(4 * 86_400)
    assert_problem(await gateway.api.get(PATH), 410, "artifact_gone")
    assert_problem(await gateway.api.post("/v1/uploads", content=MP3), 501, "archive_off")


def _zipped(**members: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, body in members.items():
            zipped.writestr(name.replace("__", "."), body)
    return made.getvalue()


async def _stems(gateway: Running, files: FileServer, body: bytes, item_id: str = "mss_7") -> str:
    files.files[f"{item_id}.zip"] = File(body, "application/zip")
    task = await gateway.submit("stems.create")
    stems = {"stems": [{"item_id": item_id, "status": "succeeded", "stems_url": files.url(f"{item_id}.zip")}]}
    await gateway.call_back("stems", stems, UUID(task["id"]))
    await _archived(gateway, task["id"], "stems")
    return f"/v1/items/{item_id}/artifacts/stems/members"


async def test_one_file_of_a_zip_is_served_by_itself(gateway: Running, files: FileServer) -> None:
    vocals, bass = b"fLaC" + random.Random(7).randbytes(800_000), b"fLaC" + b"b" * 100
    path = await _stems(gateway, files, _zipped(vocals__flac=vocals, bass__flac=bass))
    listed = (await gateway.api.get(path)).json()["data"]
    assert listed == [
        {"name": "vocals.flac", "bytes": len(vocals), "media_type": "audio/flac"},
        {"name": "bass.flac", "bytes": len(bass), "media_type": "audio/flac"},
    ]
    assert (await gateway.api.get(f"{path}/vocals.flac")).content == vocals
    part = await gateway.api.get(f"{path}/vocals.flac", headers={"Range": "bytes=500000-500009"})
    assert (part.status_code, part.content) == (206, vocals[500_000:500_010])
    assert_problem(await gateway.api.get(f"{path}/drums.flac"), 404)


def _with_zip64(plain: bytes, claimed: int | None = None) -> bytes:
    """A zip with the end records of zip64. ``claimed``: what its plain end record says of members in their place."""
    at = plain.rfind(b"PK\x05\x06")
    count, size, offset = struct.unpack_from("<HII", plain, at + 10)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, at, 1)
    end = bytearray(plain[at:])
    if claimed is not None:
        struct.pack_into("<HHI", end, 8, claimed, claimed, claimed * 50)
    return plain[:at] + record + locator + bytes(end)


async def test_a_zip_of_the_large_form_is_read_as_others(gateway: Running, files: FileServer) -> None:
    path = await _stems(gateway, files, _with_zip64(_zipped(bass__flac=b"fLaC" + b"b" * 100)))
    assert (await gateway.api.get(f"{path}/bass.flac")).content == b"fLaC" + b"b" * 100


async def test_a_member_may_be_called_what_the_routes_are(gateway: Running, files: FileServer) -> None:
    names = (
        "artifacts/x.flac",
        "a/artifacts/stems/members",
        "x/members/y",
        "100%/%41 b?c#d.flac",
        "海\u3000風\xa0.flac",
    )
    path = await _stems(gateway, files, _zipped(**{name: name.encode() for name in names}))
    for name in names:
        assert (await gateway.api.get(f"{path}/{quote(name)}")).text == name


def _hostile() -> dict[str, bytes]:
    plain = _zipped(a__flac=b"fLaC" + b"a" * 2000)
    linked = io.BytesIO()
    with zipfile.ZipFile(linked, "w") as zipped:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        zipped.writestr(info, "/etc/passwd")
    named: dict[str, bytes] = {}
    for what, name in (("up", "../../x.flac"), ("absolute", "/etc/x.flac"), ("drive", "c:\\x.flac"), ("nul", "a\x01b")):
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as zipped:
            zipped.writestr(zipfile.ZipInfo(name), b"fLaC")
        named[what] = made.getvalue()
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as zipped:
        for number in range(1001):
            zipped.writestr(str(number), b"")
    encrypted = bytearray(plain)
    for at in (plain.find(b"PK\x01\x02") + 8, 6):
        encrypted[at] |= 1
    # The name in front of a member is no UTF-8, though it says so; the directory at the end has it right.
    latin = bytearray(_zipped(é__flac=b"fLaC"))
    latin[30] = 0xFF
    nameless = bytearray(plain)
    for place, name_at in ((plain.find(b"PK\x01\x02"), 28), (0, 26)):
        struct.pack_into("<H", nameless, place + name_at, 0)
    return named | {
        "many by zip64": _with_zip64(many.getvalue(), claimed=1),
        "latin": bytes(latin),
        "nameless": bytes(nameless),
        "link": linked.getvalue(),
        "bomb": _zipped(a__flac=bytes(5_000_000)),
        "many": many.getvalue(),
        "encrypted": bytes(encrypted),
        "cut short": plain[:-30],
        "no zip": b"PK\x03\x04" + bytes(500),
    }


WHY = {
    "many by zip64": "too many members",
    "latin": "cannot be read",
    "nameless": "",
    "up": "leads elsewhere",
    "absolute": "leads elsewhere",
    "drive": "leads elsewhere",
    "nul": "leads elsewhere",
    "link": "is a link",
    "bomb": "beyond belief",
    "many": "too many members",
    "encrypted": "encrypted",
    "cut short": "has no end",
    "no zip": "has no end",
}


async def test_a_hostile_zip_is_refused(gateway: Running, files: FileServer) -> None:
    hostile = _hostile()
    assert hostile.keys() == WHY.keys()
    for number, (what, body) in enumerate(hostile.items()):
        path = await _stems(gateway, files, body, f"mss_{number}")
        for asked in (path, f"{path}/a.flac") if what != "latin" else (f"{path}/é.flac",):
            assert WHY[what] in assert_problem(await gateway.api.get(asked), 422, "zip_refused")["detail"], what
        # The zip itself is kept, and can be had.
        assert (await gateway.api.get(path.removesuffix("/members"))).content == body, what


async def test_an_upload_is_sent_as_a_link_that_the_vendor_can_fetch(
    start_gateway: StartGateway, start_sandbox: Any, directory: Any
) -> None:
    sandbox = await start_sandbox(scale=400)
    gateway = await start_gateway(sandbox, archive_url=f"file://{directory}", egress_allow_private=True)
    studio = await client_of(gateway)
    answer = await gateway.api.post("/v1/uploads?filename=my song.mp3", content=MP3, headers=studio.headers)
    assert answer.status_code == 201, answer.text
    upload = answer.json()
    assert (upload["bytes"], upload["sha256"]) == (len(MP3), hashlib.sha256(MP3).hexdigest())
    assert (upload["url"], upload["media_type"]) == (f"upload:{upload['id']}", "audio/mpeg")
    body = {"kind": "stems.create", "params": {"url": upload["url"]}}
    task = (await gateway.api.post("/v1/tasks", json=body, headers=studio.headers)).json()
    assert task["params"] == body["params"]
    await gateway.until(task["id"], "succeeded")
    [work] = sandbox.works
    link = work.params["url"]
    assert link.startswith(f"{gateway.url}/files/")
    async with httpx.AsyncClient(trust_env=False) as vendor:
        assert (await vendor.head(link)).headers["content-length"] == str(len(MP3))
        assert (await vendor.get(link)).content == MP3
    other = await client_of(gateway, "radio")
    for headers, url in ((other.headers, upload["url"]), (studio.headers, "upload:none"), (studio.headers, "upload:")):
        refused = await gateway.api.post("/v1/tasks", json={**body, "params": {"url": url}}, headers=headers)
        assert_problem(refused, 422, "invalid_request")
        assert refused.json()["errors"][0]["path"] == "params.url"
    batch = {"tasks": [body, {**body, "params": {"url": "upload:none"}}]}
    refused = await gateway.api.post("/v1/tasks/batch", json=batch, headers=studio.headers)
    assert refused.json()["errors"][0]["path"] == "tasks.1.params.url"
    assert_problem(await gateway.api.post("/v1/uploads", content=b"<html>", headers=studio.headers), 422)
    too_much = MP3 + bytes(50 * 1024 * 1024)
    assert_problem(await gateway.api.post("/v1/uploads", content=too_much, headers=studio.headers), 413)
    assert len([path for path in directory.rglob("*.mp3") if "my song" in path.name]) == 1
