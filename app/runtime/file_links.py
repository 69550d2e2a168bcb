"""Signed links to files of the archive, under ``/files/``: whoever has one may read the file until it ends.

A token is the base64url text of what it links to, the time of its end, and an HMAC. Its key is derived from
CALLBACK_SECRETS apart from the key of callback tokens, so that neither is ever good for the other; the first secret
signs, all verify (rotation).
"""

import hmac
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final
from urllib.parse import quote
from uuid import UUID

import msgspec

from app.runtime import base64url

_HEAD: Final = struct.Struct(">BI")
_MAC_BYTES: Final = 16
_ARTIFACT: Final = 1
_UPLOAD: Final = 2
_MOST_SAME_S: Final = 3600
"""How long documents show one link at most, see ``artifact_url``."""
_FAR_S: Final = 2**32 - 1
"""The last second that a token can tell, in the year 2106."""
MOST_TOKEN_CHARS: Final = 2048
_EXTENSIONS: Final = {
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/flac": "flac",
    "audio/midi": "mid",
    "audio/aac": "aac",
    "audio/mp4": "m4a",
    "audio/x-m4a": "m4a",
    "audio/ogg": "ogg",
    "audio/opus": "opus",
    "audio/webm": "webm",
    "application/zip": "zip",
}
MOST_NAME_CHARS: Final = 80


class ArtifactRef(msgspec.Struct, frozen=True):
    """An artifact of an item."""

    family: str
    item_id: str
    name: str


class UploadRef(msgspec.Struct, frozen=True):
    """An upload of a client."""

    id: UUID


class FileLinks:
    """Signs and verifies links. ``lifetime``: how long a link to an artifact is good; one to an upload says itself."""

    def __init__(self, secrets: Sequence[str], public_url: str, lifetime: timedelta) -> None:
        self._keys = [hmac.digest(secret.encode(), b"tempolor-gateway file links", sha256) for secret in secrets]
        self._public_url = public_url
        self._lifetime = lifetime

    def artifact_url(self, ref: ArtifactRef, file_name: str, now: datetime) -> str:
        """A link to an artifact. For an hour, or a 24th of its lifetime if that is less, it is the same one: whoever
        compares documents sees no change. It is good for up to so much longer."""
        same_s = max(1, min(_MOST_SAME_S, int(self._lifetime.total_seconds()) // 24))
        end_s = -(-int((now + self._lifetime).timestamp()) // same_s) * same_s
        body = "\0".join((ref.family, ref.name, ref.item_id)).encode()
        return self._url(_ARTIFACT, end_s, body, file_name)

    def upload_url(self, upload_id: UUID, file_name: str, until: datetime) -> str:
        """A link to an upload that is good until a time."""
        return self._url(_UPLOAD, min(int(until.timestamp()) + 1, _FAR_S), upload_id.bytes, file_name)

    def verify(self, token: str, now: datetime) -> ArtifactRef | UploadRef | None:
        """What a token links to; None for one that is forged, cut short or has ended, in constant time."""
        raw = base64url.decode(token) if len(token) <= MOST_TOKEN_CHARS else None
        if raw is None:
            return None
        signed, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        is_signed = any(hmac.compare_digest(_mac(key, signed), mac) for key in self._keys)
        if not is_signed or len(signed) < _HEAD.size:
            return None
        kind, end_s = _HEAD.unpack_from(signed)
        if datetime.fromtimestamp(end_s, UTC) <= now:
            return None
        body = signed[_HEAD.size :]
        if kind == _UPLOAD:
            return UploadRef(UUID(bytes=body))
        family, name, item_id = body.decode().split("\0", 2)
        return ArtifactRef(family, item_id, name)

    def _url(self, kind: int, end_s: int, body: bytes, file_name: str) -> str:
        signed = _HEAD.pack(kind, end_s) + body
        token = base64url.encode(signed + _mac(self._keys[0], signed))
        return f"{self._public_url}/files/{token}/{quote(file_name, safe='')}"


def extension_of(media_type: str) -> str:
    """The ending of a file's name; ``bin`` for what nobody knows."""
    return _EXTENSIONS.get(media_type, "bin")


def readable_name(title: str | None, name: str, media_type: str) -> str:
    """What a file is called for people: by its title, and what it is of it where that is not plain from the ending."""
    text = "".join(letter if letter.isprintable() and letter not in '/\\:*?"<>|' else " " for letter in title or "")
    stem = " ".join(text.split()).strip(". ")[:MOST_NAME_CHARS] or "untitled"
    return f"{stem}{'' if name in ('audio', 'audio_hi', 'midi') else f' {name}'}.{extension_of(media_type)}"


def _mac(key: bytes, signed: bytes) -> bytes:
    return hmac.digest(key, signed, sha256)[:_MAC_BYTES]
