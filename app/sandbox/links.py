"""Sign and verify links to result files."""

import hashlib
import hmac
from typing import Final

FILE_LIFETIME_S: Final = 3 * 24 * 3600
STREAM_LIFETIME_S: Final = 600
"""Real seconds. Source: the vendor's reference (3 days, streams 10 minutes)."""

STREAM_FILE: Final = "stream.mp3"

_SECRET: Final = b"sandbox files"
"""It protects nothing: it makes a link that was cut or altered fail, as it would at the vendor."""


def sign(base_url: str, item_id: str, name: str, signed_at: float, lifetime_s: float | None = None) -> str:
    """The URL of a file, signed at an instant (epoch seconds); the same instant gives the same URL.

    The first part of ``auth_key`` is the epoch second at which the URL ends, as an integrator reports of the vendor's.
    ``lifetime_s``: in place of the vendor's own.
    """
    stamp = int(signed_at + (_lifetime_s(name) if lifetime_s is None else lifetime_s))
    return f"{base_url}/files/{item_id}/{name}?auth_key={stamp}-{_signature(item_id, name, stamp)}"


def is_valid(item_id: str, name: str, auth_key: str, now: float) -> bool:
    """Whether the signature belongs to the file and has not run out."""
    stamp_text, _, signature = auth_key.partition("-")
    if not stamp_text.isdecimal() or not hmac.compare_digest(
        signature.encode(), _signature(item_id, name, int(stamp_text)).encode()
    ):
        return False
    return now <= int(stamp_text)


def _lifetime_s(name: str) -> int:
    return STREAM_LIFETIME_S if name == STREAM_FILE else FILE_LIFETIME_S


def _signature(item_id: str, name: str, stamp: int) -> str:
    return hmac.new(_SECRET, f"{item_id}/{name}/{stamp}".encode(), hashlib.sha256).hexdigest()[:32]
