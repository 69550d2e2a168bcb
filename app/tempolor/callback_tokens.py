"""Callback tokens: the last part of a callback URL, which binds one task (or nobody) and one family by HMAC.

The vendor does not sign its callbacks, so a URL that nobody can guess is what distinguishes them from forgeries (G7).
A token is the base64url text of key id (3 bytes), task id (16) and MAC (20): 39 bytes, so there is no padding
and exactly one text for each token; it is compared as text.
"""

import base64
import hmac
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec

from app.tempolor.kinds import FAMILIES

_NOBODY: Final = UUID(int=0)
_KEY_ID_BYTES: Final = 3
_MAC_BYTES: Final = 20
_MAC_AT: Final = _KEY_ID_BYTES + 16
TOKEN_CHARS: Final = 52
SELF_CHECK: Final = "self_check"
"""In place of a family: a token by which a gateway knows its own deployment, and that opens nothing."""
LEAST_CHARS: Final = 28
"""Up to here a token that was cut short is no chance: two bytes of its MAC are there. A shorter one holds
nothing secret."""
_TEXT: Final = re.compile(rf"[A-Za-z0-9_-]{{{TOKEN_CHARS}}}")
MOST_VERIFIED: Final = 4096
"""Valid tokens that are remembered: of each there are several callbacks, within minutes."""


class Token(msgspec.Struct, frozen=True):
    """A valid token. ``task_id`` is None for the unbound token, made for tasks submitted elsewhere."""

    family: str
    task_id: UUID | None


class Tokens:
    """Sign callback tokens with the first secret, verify them with all (rotation). ``most_verified`` valid tokens are
    remembered."""

    def __init__(self, secrets: Sequence[str], most_verified: int = MOST_VERIFIED) -> None:
        if not secrets:
            raise ValueError("at least one callback secret is needed")
        self._secrets = {_key_id(secret): secret.encode() for secret in reversed(secrets)}
        self._first = _key_id(secrets[0])
        self.signing_key_id = self._first.hex()
        self._most_verified = most_verified
        self.verified: dict[tuple[str, str], Token] = {}

    @property
    def key_ids(self) -> frozenset[str]:
        """Key ids (hex) that verify. A task whose token has another one cannot be called back any more."""
        return frozenset(key_id.hex() for key_id in self._secrets)

    @property
    def beginnings(self) -> tuple[str, ...]:
        """The text with which each token begins, for each secret: its key id."""
        return tuple(base64.urlsafe_b64encode(key_id).decode() for key_id in self._secrets)

    def begins_one(self, text: str) -> bool:
        """Whether a text in the alphabet of tokens is one of ours, of whatever family and task, or was one before it
        was cut short."""
        if not LEAST_CHARS <= len(text) <= TOKEN_CHARS:
            return False
        raw = base64.urlsafe_b64decode(text[: len(text) // 4 * 4])
        key_id, task_bytes, mac = raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES:_MAC_AT], raw[_MAC_AT:]
        if key_id not in self._secrets:
            return False
        expected = (self._mac(key_id, family, task_bytes) for family in FAMILIES)
        return any(hmac.compare_digest(one[: len(mac)], mac) for one in expected)

    def sign(self, family: str, task_id: UUID | None) -> str:
        """Sign a token for callbacks of one family to one task, or to nobody."""
        task_bytes = (task_id or _NOBODY).bytes
        mac = self._mac(self._first, family, task_bytes)
        return base64.urlsafe_b64encode(self._first + task_bytes + mac).decode()

    def verify(self, family: str, text: str) -> Token | None:
        """Verify a token: None for anything but a valid one, in a time that does not depend on where it differs."""
        # What was found valid is looked up by its hash; a forgery is never in there, however many are tried.
        if (token := self.verified.get((family, text))) is not None:
            return token
        # Each text of this length and alphabet is one sequence of bytes and the other way round, so that to compare
        # the bytes is to compare the text.
        if _TEXT.fullmatch(text) is None:
            return None
        raw = base64.urlsafe_b64decode(text)
        key_id, task_bytes, mac = raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES:-_MAC_BYTES], raw[-_MAC_BYTES:]
        is_known_key = key_id in self._secrets
        expected = self._mac(key_id if is_known_key else self._first, family, task_bytes)
        if not hmac.compare_digest(expected, mac) or not is_known_key:
            return None
        token = Token(family, None if task_bytes == _NOBODY.bytes else UUID(bytes=task_bytes))
        if len(self.verified) >= self._most_verified:
            self.verified.clear()
        self.verified[family, text] = token
        return token

    def _mac(self, key_id: bytes, family: str, task_bytes: bytes) -> bytes:
        message = b"callback\x00" + family.encode() + b"\x00" + task_bytes
        return hmac.digest(self._secrets[key_id], message, "sha256")[:_MAC_BYTES]


def callback_url(public_url: str, family: str, token: str) -> str:
    """The callback URL of a token: ``{public_url}/callbacks/{family}/{token}``."""
    return f"{public_url.rstrip('/')}/callbacks/{family}/{token}"


def _key_id(secret: str) -> bytes:
    return sha256(b"callback key id\x00" + secret.encode()).digest()[:_KEY_ID_BYTES]
