"""Sessions of the console: a signed cookie that names an API key by its digest, and a CSRF token bound to it.

Nothing is stored: whoever has signed in stays so for twelve hours, as long as the key is good, which each request looks
up. The key of the signature is derived from CALLBACK_SECRETS apart from those of callback tokens and of links to files;
the first secret signs, all verify (rotation).
"""

import hmac
import secrets as random_bytes
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from app.runtime import base64url

LIFETIME: Final = timedelta(hours=12)
_FIELDS: Final = struct.Struct(">I32s12s")
"""When it ends, the digest of the key, and what makes each session another one."""
_MAC_BYTES: Final = 32
_COOKIE_CHARS: Final = 107


@dataclass(frozen=True, slots=True)
class Session:
    """Who signed in. ``csrf``: what every change must bring along."""

    key_digest: bytes
    ends_at: datetime
    csrf: str


class Sessions:
    """Signs and verifies session cookies."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [hmac.digest(secret.encode(), b"tempolor-gateway console sessions", sha256) for secret in secrets]

    def begin(self, key_digest: bytes, now: datetime) -> str:
        """Make the cookie of a new session."""
        end_s = int((now + LIFETIME).timestamp())
        signed = _FIELDS.pack(end_s, key_digest, random_bytes.token_bytes(12))
        return base64url.encode(signed + _mac(self._keys[0], b"cookie", signed))

    def read(self, cookie: str, now: datetime) -> Session | None:
        """Read a cookie; None for one that is forged, cut short or has ended, in constant time."""
        raw = base64url.decode(cookie) if len(cookie) == _COOKIE_CHARS else None
        if raw is None:
            return None
        signed, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        key = next((key for key in self._keys if hmac.compare_digest(_mac(key, b"cookie", signed), mac)), None)
        if key is None:
            return None
        end_s, key_digest, _ = _FIELDS.unpack(signed)
        ends_at = datetime.fromtimestamp(end_s, UTC)
        return Session(key_digest, ends_at, base64url.encode(_mac(key, b"csrf", signed))) if ends_at > now else None


def _mac(key: bytes, purpose: bytes, signed: bytes) -> bytes:
    return hmac.digest(key, purpose + b"\0" + signed, sha256)
