"""Base64url without padding (RFC 4648, 5), with exactly one text for each sequence of bytes."""

import base64
import binascii
import re
from typing import Final

_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)


def encode(raw: bytes) -> str:
    """The text of some bytes."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(text: str) -> bytes | None:
    """The bytes of a text; None for what ``encode`` never returns. Base64 has bits to spare in its last letter: with
    others there, a text would be a second one for the same bytes."""
    if not _ALPHABET.fullmatch(text):
        return None
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return None
    return raw if encode(raw) == text else None
