"""Sessions of the console: a signed cookie that names an API key by its digest, and a CSRF token bound to it.

Nothing is stored: whoever has signed in stays so for twelve hours, as long as the key is good, which each request looks
up. The key of the signature is derived from CALLBACK_SECRETS apart from those of callback tokens and of links to files;
the first secret signs, all verify (rotation).
"""

import base64
import hmac
import re
import secrets as random_bytes
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

LIFETIME: Final = timedelta(hours=12)
_FIELDS: Final = struct.Struct(">I32s12s")
"""When it ends, the digest of the key, and what makes each session another one."""
_MAC_BYTES: Final = 32
_COOKIE: Final = re.compile(r"[A-Za-z0-9_-]{107}", re.ASCII)


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
        return _text(signed + _mac(self._keys[0], b"cookie", signed))

    def read(self, cookie: str, now: datetime) -> Session | None:
        """Read a cookie; None for one that is forged, cut short or has ended, in constant time."""
        if not _COOKIE.fullmatch(cookie):
            return None
        raw = base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))
        signed, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        key = next((key for key in self._keys if hmac.compare_digest(_mac(key, b"cookie", signed), mac)), None)
        # Exactly one text for each session: base64 has bits to spare in its last letter.
        if key is None or _text(raw) != cookie:
            return None
        end_s, key_digest, _ = _FIELDS.unpack(signed)
        ends_at = datetime.fromtimestamp(end_s, UTC)
        return Session(key_digest, ends_at, _text(_mac(key, b"csrf", signed))) if ends_at > now else None


def _mac(key: bytes, purpose: bytes, signed: bytes) -> bytes:
    return hmac.digest(key, purpose + b"\0" + signed, sha256)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
