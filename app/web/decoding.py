"""Decode bodies of requests: gzip, then strict JSON, with every fault in our words and with its place.

Whatever the body holds, no step takes longer than some tens of milliseconds, since it blocks the event loop: what a
route reads is small, and a batch is split into its tasks before any of them is decoded.
"""

import json
import re
import zlib
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from app.errors import InvalidJson, InvalidRequest, PayloadTooLarge
from app.web.parameters import NUL_MESSAGE, has_nul
from app.web.problems import Place, invalid_at, path_of

S = TypeVar("S", bound=msgspec.Struct)

MOST_DEPTH: Final = 32
MOST_NESTED: Final = 5000
"""Lists and objects. Millions of them, kept until a batch is stored, hold up the garbage collector and so everybody."""
MOST_SEARCHED: Final = 256 * 1024
"""In a larger body the place of half a character is not reported: it would have to be decoded as a whole."""
MOST_EXTREME: Final = 1000
"""Numbers with an exponent of three digits take the decoder some 10 µs each."""
_EXTREME: Final = re.compile(rb"\d[eE][-+]?\d{3}")
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""Some editors and libraries put one before UTF-8."""
_POSITION: Final = re.compile(r"\(byte (\d+)\)")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_HALF: Final = re.compile(rb"\\u[dD](?:[89abAB]..(?!\\u[dD][c-fC-F])|[c-fC-F])")
_HALF_MESSAGE: Final = "a text must not hold half of a character (a lone surrogate, such as \\ud83c)"
_GZIP: Final = frozenset({"gzip", "x-gzip"})
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


def unpacked(body: bytes, encoding: str, most_bytes: int) -> bytes:
    """Decompress a body of this ``Content-Encoding``, in lower case. What is not of the encoding that it claims may be
    plain, and what is of one that is not read here turns out to be no JSON: both are returned as they are. The limit is
    that of the result, and is kept while decompressing. Raises ``PayloadTooLarge``."""
    if encoding not in _GZIP:
        return body
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    try:
        plain = unpacker.decompress(body, most_bytes + 1)
    except zlib.error:
        return body
    if len(plain) > most_bytes:
        raise PayloadTooLarge(f"the unpacked body is over {most_bytes} bytes")
    return plain if unpacker.eof and not unpacker.unused_data else body


def decode(raw: bytes, place: Place = ()) -> Any:
    """Decode a body, or the part of one at this place. Raises ``InvalidJson``, and ``InvalidRequest`` for JSON that
    cannot be stored: a NUL or half of a character in a text, a number out of range, too deep or too much nesting."""
    if len(raw) > MOST_EXTREME and len(_EXTREME.findall(raw)) > MOST_EXTREME:
        raise invalid_at(place, "it holds too many numbers of an extreme size")
    try:
        document = msgspec.json.decode(raw.removeprefix(BYTE_ORDER_MARK))
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None
    except msgspec.ValidationError:
        raise invalid_at(place, "it holds a number that is out of range") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_json(raw, error, place) from None
    _check_nesting(document)
    # A NUL can only come as an escape; few bodies have one, and only they are searched.
    if b"\\u0000" in raw:
        _refuse_texts(document, place, has_nul, NUL_MESSAGE)
    return document


def split(raw: msgspec.Raw | bytes, outline: type[S], otherwise: str) -> S:
    """Split a body without a byte order mark, or a part of one, into a struct whose values are ``msgspec.Raw`` and are
    not decoded. Raises ``InvalidRequest`` with the message ``otherwise`` where it has another outline, and
    ``InvalidJson``."""
    try:
        return msgspec.json.decode(raw, type=outline)
    except (msgspec.ValidationError, RecursionError):
        raise InvalidRequest(otherwise) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_json(bytes(raw), error, ()) from None


def _not_json(raw: bytes, error: Exception, place: Place) -> Exception:
    """Explain why a body cannot be read. Half of a character, as JavaScript leaves it where it cuts a text, is valid
    JSON."""
    where = f" (in {path_of(place)})" if place else ""
    if _HALF.search(raw):
        if len(raw) > MOST_SEARCHED:
            return invalid_at(place, _HALF_MESSAGE)
        try:
            _refuse_texts(json.loads(raw.removeprefix(BYTE_ORDER_MARK)), place, _SURROGATE.search, _HALF_MESSAGE)
        except InvalidRequest as refused:
            return refused
        except json.JSONDecodeError as fault:
            return InvalidJson(f"the body is not valid JSON: at character {fault.pos}{where}")
        except (ValueError, RecursionError):
            pass
    if isinstance(error, UnicodeDecodeError):
        return InvalidJson(f"the body is not valid JSON: a text is not UTF-8{where}")
    position = _POSITION.search(str(error))
    reason = f"at byte {position[1]}" if position else "it ends too soon"
    return InvalidJson(f"the body is not valid JSON: {reason}{where}")


def _refuse_texts(document: Any, place: Place, is_bad: Callable[[str], Any], message: str) -> None:
    if isinstance(document, str):
        if is_bad(document):
            raise invalid_at(place, message)
    elif isinstance(document, list):
        for position, value in enumerate(document):
            _refuse_texts(value, (*place, position), is_bad, message)
    elif isinstance(document, dict):
        for name, value in document.items():
            _refuse_texts(name, place, is_bad, message)
            _refuse_texts(value, (*place, name), is_bad, message)


def _check_nesting(document: Any) -> None:
    level, count = [document] if isinstance(document, list | dict) else [], 0
    for _ in range(MOST_DEPTH + 1):
        count += len(level)
        if count > MOST_NESTED:
            raise InvalidRequest(f"the body has more than {MOST_NESTED} lists and objects")
        if not level:
            return
        level = [
            value
            for parent in level
            for value in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(value, list | dict)
        ]
    raise InvalidRequest("the body is nested too deeply")
