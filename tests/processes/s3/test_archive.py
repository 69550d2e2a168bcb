"""The archive over HTTP in an S3 server, where there is one."""

import hashlib

import httpx

from app.archive import rows
from app.archive.copy import LEASE, settle
from app.archive.verify_and_retry import fault_of
from app.rules.task import Copy, CopyStatus
from tests.stories.archive.test_copying import _archived, _ended_song
from tests.stories.archive.test_living import _archiver, _copies, _copy_all
from tests.stories.archive.test_lost_writers import OTHER, claimed, reservation_of
from tests.support.fast_clock import ScaledClock
from tests.support.file_server import MP3, WAV, File, FileServer
from tests.support.gateway import Running
from tests.support.object_store import ObjectStore, needs_s3
from tests.support.start_fixtures import StartGateway

pytestmark = needs_s3


async def test_files_are_kept_in_a_bucket_and_served_from_it(
    start_gateway: StartGateway, files: FileServer, bucket: ObjectStore
) -> None:
    large = MP3 + bytes(12 * 1024 * 1024)
    files.files |= {"a.mp3": File(large, cut_after=7_000_000), "a.wav": File(WAV)}
    gateway: Running = await start_gateway(archive_url=bucket.archive_url, egress_allow_private=True)
    task = await _ended_song(gateway, files)
    await _archived(gateway, task["id"], "audio_hi", timeout_s=30)
    found = await _archived(gateway, task["id"], "audio", timeout_s=30)
    copy = found["items"][0]["artifacts"]["audio"]["archive"]
    assert copy["sha256"] == hashlib.sha256(large).hexdigest()
    answer = await gateway.api.get("/v1/items/t2m_1/artifacts/audio", headers={"Range": "bytes=6000000-6000009"})
    assert (answer.status_code, answer.content) == (206, large[6_000_000:6_000_010])
    assert await bucket.unfinished() == 0
    ends = sorted(key.rpartition(f"{task['id']}/")[2] for key in await bucket.listed())
    assert ends == ["t2m_1/audio.mp3", "t2m_1/audio_hi.wav"]


async def test_an_upload_that_the_server_completes_late_replaces_nothing(
    start_gateway: StartGateway, files: FileServer, clock: ScaledClock, bucket: ObjectStore
) -> None:
    files.files |= {"a.mp3": File(MP3), "a.wav": File(WAV)}
    gateway = await start_gateway(workers=False, archive_url=bucket.archive_url, egress_allow_private=True, clock=clock)
    task = await _ended_song(gateway, files)
    context, store = gateway.gateway.context, gateway.gateway.file_store
    assert store is not None
    frozen = await claimed(gateway, "audio")
    reserved = await reservation_of(gateway, frozen)
    # All parts are with the server, and the order to complete them is on its way.
    url = f"{bucket.url}/music/kept/{reserved.path}"
    async with httpx.AsyncClient(trust_env=False) as late:
        begun = (await late.post(f"{url}?uploads")).text.partition("<UploadId>")[2].partition("</UploadId>")[0]
        part = await late.put(f"{url}?partNumber=1&uploadId={begun}", content=OTHER)
        clock.skip(LEASE.total_seconds() + 1)
        await _copy_all(_archiver(gateway))
        assert (await _copies(gateway, task["id"]))["audio"] == ("kept", None)
        tag = part.headers["etag"]
        parts = f"<Part><PartNumber>1</PartNumber><ETag>{tag}</ETag></Part>"
        done = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"
        assert (await late.post(f"{url}?uploadId={begun}", content=done)).status_code == 200
    assert await bucket.read(f"kept/{reserved.path}") == OTHER
    copy = Copy(CopyStatus.KEPT, reserved.path, len(OTHER), "0" * 64, "audio/mpeg")
    await context.db.write(settle, context, frozen, copy, reserved)
    [kept] = [row for row in await context.db.read(rows.list_files, "", 10) if row.name == "audio"]
    assert await fault_of(store, kept, deep=True) is None
    assert (await gateway.api.get("/v1/items/t2m_1/artifacts/audio")).content == MP3
