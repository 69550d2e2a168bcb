"""Redact our secrets from what comes from outside (G11), once, where it comes in: bytes to bytes.

Whoever was given a secret of ours may send it back: the vendor has its key and our callback URLs, and what they send
is stored, shown and logged. A secret is known by its text in any of its spellings (``escapes``), a callback token
by its MAC, so that nothing else is taken for one, and keys that we keep only as digests by their form.

Nearly everything that comes holds none of it, and a callback must not wait for that to be found out. One look of the
regular expressions of Rust, which pydantic brings along, finds any of some dozen words in a few kilobytes within a
microsecond; Python's own take fifty. Only what they do not let pass is looked at closely.
"""

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from pydantic_core import SchemaValidator, core_schema

from app.tempolor.callback_tokens import TOKEN_CHARS, Tokens
from app.tempolor.escapes import LETTERS_ESCAPED, TooMuch, layers, peeled_text
from app.tempolor.kinds import FAMILIES

MARK: Final = "[redacted]"
"""What stands in place of a secret."""

PIECE_CHARS: Final = 16
"""The beginning of a secret is taken out from this length on, wherever it stands."""
CUT_CHARS: Final = 8
"""The beginning of the vendor's key from this length on, where a text ends with it: there it was cut. Not of others,
whose beginnings may be words."""
_BASE64_CHARS: Final = 12

MOST_PLACES: Final = 1000
"""Places of one text at which a secret may begin. Nobody writes more who means no harm."""

LEAST_LETTERS: Final = 6
"""A secret whose beginning has fewer different letters is known only as a whole: the beginning alone may be anybody's,
such as the letter ``a`` sixteen times."""

_BY_FORM: Final = (
    re.compile(rb"(tpg_[a-z0-9_-]{16,})"),
    re.compile(rb"(whsec_[a-z0-9+/_=-]{16,})"),
)
"""What is known by its form, in small letters: the API keys and webhook secrets that are made in ``clients/keys`` and
``clients/clients``."""
_TOKEN_RUN: Final = re.compile(rb"[A-Za-z0-9_-]{1,%d}" % (TOKEN_CHARS + 1))
_BASE64_RUN: Final = re.compile(rb"[A-Za-z0-9+/_=-]{1,1000}")
_END: Final = re.compile(rb"\Z|[\"\\<>*\r\n]|\.\.\.|\xe2\x80\xa6")
"""Where a text ends, or says that it was cut."""
_NOT_ASCII: Final = bytes(range(128, 256))
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")

_Span = tuple[int, int]


class Redactor:
    """Find and replace the secrets of a process: the vendor's key, and others. ``credentials``: ``user:password`` of a
    proxy, which is sent in base64; the password is also known alone if it is long enough for a secret."""

    def __init__(
        self,
        key: str,
        others: Iterable[str] = (),
        tokens: Tokens | None = None,
        credentials: Sequence[str] = (),
    ) -> None:
        passwords = [one.partition(":")[2] for one in credentials]
        others = [*others, *(one for one in passwords if len(one) >= CUT_CHARS)]
        least = {**{one: _least(one, PIECE_CHARS) for one in others}, key: _least(key, CUT_CHARS)}
        self._ascii_only = all(one.isascii() for one in least)
        self._secrets = {
            (way.lower(), chars)
            for secret, chars in least.items()
            for case in _cases([secret])
            for way in (case.encode(), peeled_text(case.encode(), ascii_only=self._ascii_only))
        }
        # Of a callback URL, and all that stands behind it: a token alone cannot be recognized in base64.
        in_base64 = (*least, *credentials, "/callbacks/")
        self._base64 = _base64_pieces([one.encode() for one in in_base64])
        self._tokens = tokens
        self._key_ids = () if tokens is None else tuple(one.encode() for one in tokens.beginnings)
        # In the URL of a callback also a token is one that was cut short, or that is in capitals or small letters.
        key_ids = b"|".join(re.escape(one.lower()) for one in self._key_ids)
        in_url = re.compile(rb"callbacks/(?:%s)/((?:%s)[a-z0-9_-]{4,})" % ("|".join(FAMILIES).encode(), key_ids))
        self._by_form = (*_BY_FORM, in_url) if tokens is not None else _BY_FORM
        words = [
            *(_beginning(one[:chars]) for secret, chars in least.items() for one in _cases([secret])),
            *(_literal(one.decode()) for one in self._base64),
            *("callbacks", "CALLBACKS"),
            *(f"{word}[A-Za-z0-9_-]{{16}}" for word in ("tpg_", "TPG_")),
            *("whsec_", "WHSEC_"),
            *(f"{_literal(one)}[A-Za-z0-9_-]{{20}}" for one in _cases(one.decode() for one in self._key_ids)),
        ]
        self._names = _matcher("|".join(words))
        self._escapes = tuple(_matcher(one) for one in LETTERS_ESCAPED)

    def body(self, raw: bytes) -> bytes:
        """A body without our secrets: itself if there are none in it, and nothing of it where there is too much to be
        looked at."""
        if b"\x00" in raw and (encoding := json.detect_encoding(raw)) != "utf-8":
            return self._other_encoding(raw, encoding)
        if not self._may_hold(raw):
            return raw
        try:
            spans = sorted(self._spans(raw))
        except TooMuch:
            return MARK.encode()
        return _without(raw, spans) if spans else raw

    def text(self, text: str) -> str:
        """A text without our secrets: itself if there are none in it."""
        raw = text.encode(errors="surrogatepass")
        kept = self.body(raw)
        return text if kept is raw else kept.decode(errors="surrogatepass")

    def _other_encoding(self, raw: bytes, encoding: str) -> bytes:
        """Redact JSON in UTF-16 or UTF-32, recognized by its NULs."""
        plain = raw.decode(encoding, "replace").encode()
        kept = self.body(plain)
        return raw if kept is plain else kept.decode().encode(encoding)

    def _may_hold(self, raw: bytes) -> bool:
        seen = _seen(raw)
        of_pages, of_json = self._escapes
        return self._names(seen) or of_pages(seen) or of_json(seen)

    def _spans(self, raw: bytes) -> set[_Span]:
        """Find where secrets stand. Raises ``TooMuch``."""
        spans: set[_Span] = set()
        for layer in layers(raw, ascii_only=self._ascii_only):
            if not self._names(_seen(layer.text)):
                continue
            for start, end in self._found(layer.text):
                spans.add(layer.span(start, end) if layer.below else _whole_escapes(raw, start, end))
                if len(spans) > MOST_PLACES:
                    raise TooMuch
        return spans

    def _found(self, text: bytes) -> Iterator[_Span]:
        low = text.lower()
        for secret, least in self._secrets:
            for start in _places(low, secret[:least]):
                end = start + _common(low, start, secret)
                length = end - start
                if length == len(secret) or length >= PIECE_CHARS or _END.match(text, end):
                    yield start, end
        for piece in self._base64:
            for start in _places(text, piece):
                match = _BASE64_RUN.match(text, start)
                yield start, match.end() if match else start + len(piece)
        for form in self._by_form:
            yield from (match.span(1) for match in form.finditer(low))
        for key_id in self._key_ids:
            for start in _places(low, key_id.lower()):
                yield from self._token_at(text, start)

    def _token_at(self, text: bytes, start: int) -> Iterator[_Span]:
        """Find the token that begins here, if it is one of ours, or the beginning of one. In capitals or small letters
        alone its MAC cannot be checked: such a run of exactly a token's length is taken for one."""
        match = _TOKEN_RUN.match(text, start)
        run = match.group()[:TOKEN_CHARS] if match else b""
        if match is None or self._tokens is None:
            return
        if self._tokens.begins_one(run.decode()):
            yield start, start + len(run)
        elif len(match.group()) == TOKEN_CHARS and run in (run.lower(), run.upper()):
            yield start, start + TOKEN_CHARS


def _least(secret: str, chars: int) -> int:
    """The length of a secret's beginning that is taken for it."""
    return chars if len(set(secret[:PIECE_CHARS])) >= LEAST_LETTERS else len(secret)


def _matcher(pattern: str) -> Callable[[bytes], bool]:
    """Make a test whether a pattern is in a text of ASCII."""
    schema = core_schema.str_schema(pattern=pattern, regex_engine="rust-regex")
    return SchemaValidator(schema).isinstance_python


def _seen(raw: bytes) -> bytes:
    """The part of a text that the matchers are shown: what is not ASCII need not be UTF-8, and to check it takes longer
    than they do."""
    return raw if raw.isascii() else raw.translate(None, _NOT_ASCII)


def _cases(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(case for text in texts for case in (text, text.lower(), text.upper())))


def _beginning(text: str) -> str:
    """A pattern of the beginning of a secret, in the spellings that ``LETTERS_ESCAPED`` lets pass."""
    return "".join(map(_spelled, text))


_AMPERSAND: Final = r"(?:&|&amp;|%26|\x5c+u0026)"


def _spelled(letter: str) -> str:
    """A pattern of one letter. What an everyday text encodes may be written in each way; for the rest it is enough to
    know that something was."""
    if letter in _UNRESERVED:
        return _literal(letter)
    percent = "".join(f"%{byte:02x}" for byte in letter.encode())
    units = letter.encode("utf-16-be").hex()
    in_json = "".join(rf"\x5c+u{units[at : at + 4]}" for at in range(0, len(units), 4))
    name = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}.get(letter, "none")
    entity = rf"{_AMPERSAND}(?:{name}|#0*{ord(letter)}|#x0*{ord(letter):x});"
    return rf"(?i:\x5c*{_literal(letter)}|{percent}|{in_json}|{entity})"


def _literal(text: str) -> str:
    """A pattern of a text, as it is ``_seen``."""
    return "".join(one if one.isalnum() else f"\\x{{{ord(one):x}}}" for one in text if one.isascii())


def _base64_pieces(texts: Sequence[bytes]) -> list[bytes]:
    """The beginnings of secrets in base64, for each of the three places in a group at which one can begin."""
    pieces: list[bytes] = []
    for text in texts:
        for before in range(3):
            encoded = base64.b64encode(bytes(before) + text)
            piece = encoded[(before * 8 + 5) // 6 :][:_BASE64_CHARS]
            if len(piece) == _BASE64_CHARS:
                pieces += (piece, piece.translate(bytes.maketrans(b"+/", b"-_")))
    return list(dict.fromkeys(pieces))


def _places(text: bytes, piece: bytes) -> Iterator[int]:
    at = -1
    for _ in range(MOST_PLACES):
        at = text.find(piece, at + 1)
        if at < 0:
            return
        yield at
    raise TooMuch


def _common(text: bytes, start: int, secret: bytes) -> int:
    """Measure how much of a secret stands at a place of a text."""
    length = min(len(secret), len(text) - start)
    return next((at for at in range(length) if text[start + at] != secret[at]), length)


def _whole_escapes(raw: bytes, start: int, end: int) -> _Span:
    """A piece that begins behind the backslash of an escape takes it along: alone it would escape what follows."""
    backslashes = start - len(raw[:start].rstrip(b"\\"))
    return start - backslashes % 2, end


def _without(raw: bytes, spans: Iterable[_Span]) -> bytes:
    """Replace pieces of a text by a mark; where pieces overlap, by one for all."""
    kept: list[bytes] = []
    last = 0
    for start, end in spans:
        if start >= last:
            kept += (raw[last:start], MARK.encode())
        last = max(last, end)
    return b"".join((*kept, raw[last:]))
