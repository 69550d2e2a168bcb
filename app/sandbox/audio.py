"""The result files of the sandbox: eight seconds of a synthesised tune in each form that the vendor makes.

The mp3 and the FLACs lie in ``assets``; what is easily made of nothing is made when it is first asked for.
"""

import io
import math
import struct
import wave
import zipfile
from functools import cache
from importlib.resources import files
from typing import Final

_RATE: Final = 22_050
_SECONDS: Final = 8
_ASSETS: Final = files("app.sandbox") / "assets"
STEMS: Final = ("originalaudio", *(f"originalaudio_{part}" for part in ("vocals", "bass", "drums", "other")))
"""What the members of a stems zip are called. Source: the vendor's reference, "Results"."""
_MIDI: Final = (
    b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x01\xe0"
    b"MTrk\x00\x00\x00\x14\x00\x90\x3c\x60\x83\x60\x80\x3c\x00\x00\x90\x40\x60\x83\x60\x80\x40\x00\x00\xff\x2f\x00"
)


@cache
def content(ending: str) -> tuple[str, bytes] | None:
    """Media type and bytes of a file by its ending; None where the vendor has no such files."""
    match ending:
        case "mp3":
            return "audio/mpeg", _asset("song.mp3")
        case "wav":
            return "audio/wav", _wav()
        case "flac":
            return "audio/flac", _asset("originalaudio.flac")
        case "zip":
            return "application/zip", _zip()
        case "mid":
            return "audio/midi", _MIDI
        case "jpg":
            return "image/jpeg", b"\xff\xd8\xff\xd9"
    return None


def _asset(name: str) -> bytes:
    return (_ASSETS / name).read_bytes()


def _wav() -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as tone:
        tone.setnchannels(1)
        tone.setsampwidth(2)
        tone.setframerate(_RATE)
        heights = (math.sin(2 * math.pi * 220 * at / _RATE) for at in range(_RATE * _SECONDS))
        tone.writeframes(b"".join(struct.pack("<h", int(9000 * height)) for height in heights))
    return made.getvalue()


def _zip() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as zipped:
        for name in STEMS:
            # A fixed time: the same bytes each time that it is made.
            zipped.writestr(zipfile.ZipInfo(f"{name}.flac", (2026, 1, 1, 0, 0, 0)), _asset(f"{name}.flac"))
    return made.getvalue()
