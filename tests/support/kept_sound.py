"""A kept file of some length, for players: thirteen megabytes of WAV, five minutes long."""

import io
import math
import struct
import wave
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from tests.support.file_server import File, serving_files
from tests.support.gateway import Running, eventually
from tests.support.song_callbacks import song

RATE: Final = 22_050
SECONDS: Final = 300


@cache
def sound() -> bytes:
    """A tone."""
    made = io.BytesIO()
    with wave.open(made, "wb") as tone:
        tone.setnchannels(1)
        tone.setsampwidth(2)
        tone.setframerate(RATE)
        step = 2 * math.pi * 220 / RATE
        tone.writeframes(SECONDS * b"".join(struct.pack("<h", int(9000 * math.sin(step * at))) for at in range(RATE)))
    return made.getvalue()


@dataclass
class Kept:
    """A kept file: its link, its bytes, and how many parts of such files were answered so far."""

    gateway: Running
    url: str
    body: bytes

    async def parts(self) -> int:
        lines = (await self.gateway.api.get("/metrics")).text.splitlines()
        named = [line for line in lines if line.startswith("gateway_requests_total{") and 'status="206"' in line]
        return round(sum(float(line.split()[-1]) for line in named if "/files/" in line))


async def keep_sound(gateway: Running) -> Kept:
    """Have a gateway with an archive keep the file."""
    async with serving_files() as files:
        files.files["a.wav"] = File(sound(), "audio/wav")
        task = await gateway.submit()
        item = song(status="succeeded", audio_hi_status="sub_succeeded", audio_hi_url=files.url("a.wav"), title="Tone")
        await gateway.call_back("song", item, UUID(task["id"]))

        async def kept() -> str | None:
            copy = (await gateway.task(task["id"]))["items"][0]["artifacts"]["audio_hi"]["archive"]
            return copy["url"] if copy["status"] == "kept" else None

        return Kept(gateway, await eventually(kept, timeout_s=60), sound())


def archive_in(directory: Path) -> dict[str, Any]:
    """The settings of a gateway that keeps files there."""
    return {"archive_url": f"file://{directory}", "egress_allow_private": True}
