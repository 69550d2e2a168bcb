"""What a client asks about itself, its notifications and its files, against a real gateway."""

import asyncio
import io
import zipfile
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from tempolor_gateway_client import (
    AsyncGatewayClient,
    Conflict,
    GatewayError,
    InvalidRequest,
    NotFound,
    Retries,
    TaskStream,
    Unavailable,
)
from tests.support.databases import on_sqlite
from tests.support.file_server import MP3, File, serving_files
from tests.support.gateway import SONG, Running, eventually
from tests.support.notifications import after_s, watching
from tests.support.receiver import plain, receiving
from tests.support.song_callbacks import done, song
from tests.support.start_fixtures import StartGateway


@on_sqlite
async def test_a_client_reads_and_changes_itself(
    start_gateway: StartGateway, connect: Callable[..., AsyncGatewayClient]
) -> None:
    gateway = await start_gateway(workers=False)
    made = (await gateway.api.post("/v1/clients", json={"name": "studio"})).json()
    client = connect(gateway.url, made["api_key"])
    me = await client.me()
    assert (me.name, me.admin, me.webhook_url, me.webhook_events) == ("studio", False, None, None)
    changed = await client.update_me(webhook_url="https://hooks.example/x", webhook_events=["task.failed"])
    assert (changed.webhook_url, changed.webhook_events) == ("https://hooks.example/x", ["task.failed"])
    assert (await client.update_me(webhook_events=[])).webhook_events == []
    changed = await client.update_me(webhook_events=None)
    assert (changed.webhook_url, changed.webhook_events) == ("https://hooks.example/x", None)
    assert (await client.submit("song.generate", SONG)).webhook_url == "https://hooks.example/x"
    named = await client.submit("song.generate", SONG, webhook_events=["task.expired"])
    assert named.webhook_events == ["task.expired"]
    assert (await client.update_me(webhook_url=None)).webhook_url is None
    with pytest.raises(InvalidRequest):
        await client.update_me(webhook_url="ftp://hooks.example/x")
    secret = await client.rotate_webhook_secret()
    assert secret.startswith("whsec_")
    assert secret != made["webhook_secret"]
    ticket = await client.stream_ticket()
    assert ticket.ticket not in repr(ticket)
    url = f"{gateway.url}/v1/stream?ticket={ticket.ticket}"
    async with httpx.AsyncClient(trust_env=False) as browser, browser.stream("GET", url) as answer:
        assert answer.status_code == 200


async def test_a_secret_is_rotated_once_or_not_at_all(connect: Callable[..., AsyncGatewayClient]) -> None:
    async with receiving(plain("503 Busy")) as gateway:
        with pytest.raises(Unavailable):
            await connect(gateway.url(path="")).rotate_webhook_secret()
        assert len(gateway.targets) == 1


async def test_the_account_is_read(studio: tuple[Running, AsyncGatewayClient]) -> None:
    account = await studio[1].account()
    assert account.balance is not None
    assert account.as_of.tzinfo is not None


@on_sqlite
async def test_notifications_are_looked_into_and_sent_again(studio: tuple[Running, AsyncGatewayClient]) -> None:
    _, client = studio
    before = datetime.now(UTC) - timedelta(minutes=1)
    async with watching() as receiver:
        ping = await client.test_webhook(receiver.url())
        assert (ping.delivered, ping.outcome, ping.status, ping.answer) == (True, "delivered", 200, "thanks")
    assert await client.redeliver_dead(before, dry_run=True) == 0
    async with watching(plain("410 Gone", body=b"moved")) as receiver:
        task = await client.submit("song.generate", SONG, webhook_url=receiver.url(), webhook_events=["task.succeeded"])
        await client.wait(task.id)

        async def is_dead() -> bool:
            return [one.status async for one in client.notifications(task_id=task.id)] == ["dead"]

        await eventually(is_dead)
    [logged] = [one async for one in client.notifications(task_id=task.id)]
    found = await client.notification(logged.id)
    assert found.body is not None
    assert (found.body["type"], found.body["data"]["id"]) == ("task.succeeded", task.id)
    assert [(one.status, one.answer) for one in found.attempt_log] == [(410, "moved")]
    assert await client.redeliver_dead(before, dry_run=True) == 1
    assert await client.redeliver_dead(before) == 1
    with pytest.raises(NotFound):
        await client.notification("nothing")


@on_sqlite
async def test_a_ping_of_a_slow_receiver_is_sent_once(studio: tuple[Running, AsyncGatewayClient]) -> None:
    async with watching(after_s(14)) as receiver:
        assert (await studio[1].test_webhook(receiver.url())).delivered
        assert receiver.connections == 1


async def test_the_account_of_a_slow_vendor_is_waited_for(connect: Callable[..., AsyncGatewayClient]) -> None:
    body = b'{"balance": 5, "as_of": "2026-01-31T12:00:00Z", "vendor": {}}'
    async with receiving(after_s(19, plain("200 OK", body=body))) as gateway:
        assert (await connect(gateway.url(path="")).account()).balance == 5
        assert gateway.connections == 1


@on_sqlite
async def test_lists_are_light_and_narrowed_by_the_end(
    start_gateway: StartGateway, connect: Callable[..., AsyncGatewayClient]
) -> None:
    gateway = await start_gateway(workers=False)
    client = connect(gateway.url)
    task = await client.submit("song.generate", SONG)
    await client.submit("song.generate", SONG)
    await gateway.call_back("song", done("t2m_1"), UUID(task.id))
    [light] = [one async for one in client.list(finished_after=task.created_at, view="summary")]
    assert (light.id, light.items[0].vendor, light.items[0].lyrics) == (task.id, {}, None)
    assert light.items[0].artifacts["audio"].status == "ready"
    assert [one async for one in client.list(finished_before=task.created_at)] == []
    assert (await client.get_by_item("t2m_1")).id == task.id
    assert "la" in await client.lyrics("t2m_1")
    assert "-->" in await client.lyrics("t2m_1", "srt")


@on_sqlite
async def test_a_stream_goes_on_from_a_position(
    start_gateway: StartGateway, connect: Callable[..., AsyncGatewayClient]
) -> None:
    gateway = await start_gateway(workers=False)
    gateway.gateway.services.heartbeat_s = 0.1
    client = connect(gateway.url)
    tasks = [await client.submit("song.generate", SONG) for _ in range(2)]

    async def told(stream: TaskStream, task_id: str) -> None:
        async for one in stream:
            if one.id == task_id and one.status == "running":
                return

    async with aclosing(client.stream_all()) as stream:
        first = asyncio.create_task(told(stream, tasks[0].id))
        await asyncio.sleep(0.5)
        await gateway.call_back("song", song("t2m_0", "running"), UUID(tasks[0].id))
        await asyncio.wait_for(first, 20)
        position = stream.position
    assert position is not None
    await gateway.call_back("song", song("t2m_1", "running"), UUID(tasks[1].id))
    async with aclosing(client.stream_all(position)) as stream:
        await asyncio.wait_for(told(stream, tasks[1].id), 20)


@pytest.mark.real_time
@on_sqlite
async def test_files_are_uploaded_fetched_and_taken_out_of_a_zip(
    start_gateway: StartGateway, connect: Callable[..., AsyncGatewayClient], tmp_path: Path
) -> None:
    gateway = await start_gateway(archive_url=f"file://{tmp_path / 'archive'}", egress_allow_private=True)
    client = connect(gateway.url)
    uploaded = await client.upload(MP3, "Harbour.mp3")
    assert (uploaded.bytes, uploaded.media_type) == (len(MP3), "audio/mpeg")
    task = await client.submit("stems.create", {"url": uploaded.url})
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("folder/vocals é.flac", b"fLaC" + b"v" * 1000)
    to = tmp_path / "stems.zip"
    with pytest.raises(NotFound):
        await client.save_artifact("mss_1", "stems", to)
    async with serving_files() as files:
        files.files["s.zip"] = File(packed.getvalue())
        await gateway.call_back("stems", {"stems": [{"item_id": "mss_1", "status": "running"}]}, UUID(task.id))
        with pytest.raises(Conflict) as refused:
            await client.save_artifact("mss_1", "stems", to)
        assert refused.value.code == "artifact_not_ready"
        body = {"stems": [{"item_id": "mss_1", "status": "succeeded", "stems_url": files.url("s.zip")}]}
        await gateway.call_back("stems", body, UUID(task.id))
        # From the vendor's link or from the archive, whichever it is by then.
        assert await client.save_artifact("mss_1", "stems", to) == len(packed.getvalue())
        assert to.read_bytes() == packed.getvalue()

        async def is_kept() -> bool:
            copy = (await client.get(task.id)).items[0].artifacts["stems"].archive
            return copy is not None and copy.status == "kept"

        await eventually(is_kept)
    [member] = await client.artifact_members("mss_1", "stems")
    assert member.name == "folder/vocals é.flac"
    assert await client.save_artifact("mss_1", "stems", to, member=member.name) == member.bytes == 1004
    assert to.read_bytes().startswith(b"fLaC")
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []
    with pytest.raises(GatewayError):
        await client.save_artifact("mss_1", "midi", to)


@pytest.mark.real_time
@on_sqlite
async def test_what_the_vendors_link_answers_is_not_what_the_gateway_says(
    start_gateway: StartGateway, connect: Callable[..., AsyncGatewayClient], tmp_path: Path
) -> None:
    gateway = await start_gateway(workers=False)
    task = await gateway.submit()
    async with serving_files() as files:
        for status, name in ((403, "a.mp3"), (404, "b.mp3")):
            files.files[name] = File(MP3, status=status)
            body = {"songs": [{"item_id": "t2m_1", "status": "main_succeeded", "audio_url": files.url(name)}]}
            await gateway.call_back("song", body, UUID(task["id"]))
            with pytest.raises(GatewayError) as refused:
                await connect(gateway.url).save_artifact("t2m_1", "audio", tmp_path / "a.mp3")
            assert type(refused.value) is GatewayError
            assert (refused.value.status, refused.value.code) == (status, f"http_{status}")


async def test_an_upload_has_its_type_and_the_time_that_its_size_takes(
    connect: Callable[..., AsyncGatewayClient],
) -> None:
    body = (
        b'{"id": "x", "url": "upload:x", "bytes": 4, "sha256": "", "media_type": "audio/mp4",'
        b' "expires_at": "2026-01-31T12:00:00Z"}'
    )
    async with receiving(after_s(25, plain("201 Created", body=body))) as gateway:
        client = connect(gateway.url(path=""))
        assert (await client.upload(bytes(2 * 1024 * 1024), "Harbour.m4a", "audio/mp4")).media_type == "audio/mp4"
        assert [one["content-type"] for one in gateway.headers] == ["audio/mp4"]
    async with receiving(after_s(25, plain("201 Created", body=body))) as gateway:
        with pytest.raises(Unavailable):
            await connect(gateway.url(path=""), retries=Retries(total_s=0)).upload(b"1234")
        assert [one["content-type"] for one in gateway.headers] == ["application/octet-stream"]


async def test_a_saved_file_has_the_usual_mode_and_any_name(
    connect: Callable[..., AsyncGatewayClient], tmp_path: Path
) -> None:
    to = tmp_path / ("n" * 251 + ".mp3")
    async with receiving(plain("200 OK", body=MP3)) as gateway:
        assert await connect(gateway.url(path="")).save_artifact("t2m_1", "audio", to) == len(MP3)
    beside = tmp_path / "beside"
    beside.touch()
    assert to.stat().st_mode == beside.stat().st_mode
    assert sorted(one.name for one in tmp_path.iterdir()) == ["beside", to.name]
