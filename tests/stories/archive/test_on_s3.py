"""The same over HTTP to an S3 server, where there is one (``moto_server``, from ``pip install 'moto[server,s3]'``)."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest

from tests.chaos.processes import free_port
from tests.stories.archive.test_copying import _archived, _done
from tests.support.file_server import MP3, WAV, File, FileServer
from tests.support.gateway import Running, eventually
from tests.support.starting import StartGateway

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.skipif(shutil.which("moto_server") is None, reason="there is no moto_server, which stands in for S3"),
]


@pytest.fixture
async def bucket(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    quiet = asyncio.subprocess.DEVNULL
    server = await asyncio.create_subprocess_exec("moto_server", "-p", str(port), stdout=quiet, stderr=quiet)
    variables = {
        "ENDPOINT_URL": url,
        "ALLOW_HTTP": "true",
        "ACCESS_KEY_ID": "a",
        "SECRET_ACCESS_KEY": "b",
        "REGION": "x",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"AWS_{name}", value)

    async def is_up() -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                return (await client.put(f"{url}/music")).status_code == 200
        except httpx.TransportError:
            return False

    try:
        await eventually(is_up, timeout_s=30)
        yield url
    finally:
        server.kill()
        await server.wait()


async def test_files_are_kept_in_a_bucket_and_served_from_it(
    start_gateway: StartGateway, files: FileServer, bucket: str
) -> None:
    large = MP3 + bytes(12 * 1024 * 1024)
    files.files |= {"a.mp3": File(large, cut_after=7_000_000), "a.wav": File(WAV)}
    gateway: Running = await start_gateway(archive_url="s3://music/kept", egress_allow_private=True)
    task = await gateway.submit()
    await gateway.call_back("song", _done(files), UUID(task["id"]))
    await _archived(gateway, task["id"], "audio_hi", timeout_s=30)
    found = await _archived(gateway, task["id"], "audio", timeout_s=30)
    copy = found["items"][0]["artifacts"]["audio"]["archive"]
    assert copy["sha256"] == hashlib.sha256(large).hexdigest()
    answer = await gateway.api.get("/v1/items/t2m_1/artifacts/audio", headers={"Range": "bytes=6000000-6000009"})
    assert (answer.status_code, answer.content) == (206, large[6_000_000:6_000_010])
    async with httpx.AsyncClient(trust_env=False) as client:
        listed = (await client.get(f"{bucket}/music?prefix=kept/")).text
        assert (await client.get(f"{bucket}/music?uploads")).text.count("<Upload>") == 0
    assert f"{task['id']}/t2m_1/audio.mp3" in listed
    assert f"{task['id']}/t2m_1/audio_hi.wav" in listed
