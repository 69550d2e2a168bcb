"""Programs that take a kept file in parts: curl goes on where it broke off, ffprobe looks where it likes."""

import json
import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.conftest import Tell
from tests.deployment.tools import well
from tests.support.databases import on_sqlite
from tests.support.kept_sound import SECONDS, Kept, archive_in, keep_sound
from tests.support.start_fixtures import StartGateway

needs_curl: Final = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_ffprobe: Final = pytest.mark.skipif(
    shutil.which("ffprobe") is None, reason="ffprobe is not installed (Debian: ffmpeg)"
)


@pytest.fixture
async def kept(start_gateway: StartGateway, tmp_path: Path) -> Kept:
    return await keep_sound(await start_gateway(**archive_in(tmp_path / "archive")))


@needs_curl
@on_sqlite
async def test_curl_goes_on_where_it_broke_off(kept: Kept, tmp_path: Path, tell: Tell) -> None:
    target, size = tmp_path / "Tone.wav", len(kept.body)
    before, told = await kept.parts(), []
    for there in (1, 1_000_000, size - 1):
        target.write_bytes(kept.body[:there])
        command = ("curl", "-sf", "-C", "-", "-o", str(target), "-w", "%{http_code} %{size_download}", kept.url)
        assert await well(*command, cwd=tmp_path) == f"206 {size - there}"
        assert target.read_bytes() == kept.body
        told.append(f"{size - there} of {size} bytes")
    assert await kept.parts() - before == 3
    # Once more, where nothing is missing: the answer is 416, and the file stays.
    said = await well("curl", "-s", "-C", "-", "-o", str(target), "-w", "%{http_code}", kept.url, cwd=tmp_path)
    assert said == "416"
    assert target.read_bytes() == kept.body
    tell(f"curl -C -: {', '.join(told)}")


@needs_ffprobe
@on_sqlite
async def test_ffprobe_reads_a_part_from_the_middle(kept: Kept, tmp_path: Path, tell: Tell) -> None:
    before = await kept.parts()
    command = ("ffprobe", "-v", "error", "-of", "json", "-show_format", "-show_packets", "-read_intervals", "290%+#3")
    found = json.loads(await well(*command, kept.url, cwd=tmp_path))
    assert float(found["format"]["duration"]) == pytest.approx(SECONDS, abs=0.1)
    assert found["format"]["format_name"] == "wav"
    assert 289 < float(found["packets"][0]["pts_time"]) < 291
    parts = await kept.parts() - before
    assert parts >= 2
    tell(f"ffprobe: {found['format']['duration']} s, packets from {found['packets'][0]['pts_time']} s, {parts} parts")
