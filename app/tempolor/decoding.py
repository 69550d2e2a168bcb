"""Decode JSON from bytes: strictly and quickly first, and where that fails once more, leniently.

Structure must be sound; the text in it need not be. A song must not be lost over half a letter, a raw line break, or
the encoding of a page in China. Bytes alone decide, no header: a stored body reads the same in a replay.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

MOST_INT_DIGITS: Final = 40
"""A longer whole number is read as its text."""


LARGE_BODY: Final = 32 * 1024
MOST_EXTREME: Final = 1000
_EXTREME: Final = re.compile(rb"\d[eE][-+]?\d{3}")


class Malformed(Exception):
    """The body is not JSON, or not of the documented shape. The message is safe to show."""


class OddNumber(str):
    """The text of a number that no database keeps as one: NaN, infinite, or of too many digits."""

    __slots__ = ()


def decode(raw: bytes) -> Any:
    """Decode JSON. Raises ``Malformed``."""
    if is_slow(raw):
        return _decode_leniently(raw)
    try:
        return msgspec.json.decode(raw)
    except RecursionError as error:
        raise Malformed(_why(error)) from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _decode_leniently(raw)


def is_slow(raw: bytes) -> bool:
    """Whether the quick decoder would be slow: a number with an exponent like that of 1e308 takes it some 10 µs, and a
    large body of those would stop everything else for seconds."""
    return len(raw) > LARGE_BODY and len(_EXTREME.findall(raw)) > MOST_EXTREME


def _decode_leniently(raw: bytes) -> Any:
    """Decode what has sound structure: with raw control characters inside texts, lone surrogates, numbers of any size,
    and in whichever encoding makes JSON of it."""
    error: Exception = ValueError()
    for text in _texts_of(raw):
        try:
            # The byte order mark is no part of the text.
            return json.loads(
                text.removeprefix("\ufeff"),
                strict=False,
                parse_int=_whole_number,
                parse_float=_number,
                parse_constant=OddNumber,
            )
        except (ValueError, RecursionError) as found:
            error = found
    raise Malformed(_why(error)) from None


def _texts_of(raw: bytes) -> Iterator[str]:
    """The texts that a body may be, the likeliest first."""
    encoding = json.detect_encoding(raw)  # seen by the zero bytes beside its first two characters
    if not encoding.startswith("utf-8"):
        yield raw.decode(encoding, "replace")
        return
    try:
        # Characters that some libraries write as two surrogates of three bytes each are put together again.
        yield raw.decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        return
    except UnicodeDecodeError:
        pass
    text = raw.decode("utf-8", "replace")
    try:
        chinese = raw.decode("gb18030")
    except UnicodeDecodeError:
        yield text
        return
    yield from (text, chinese) if _is_damaged_utf_8(raw) else (chinese, text)


def _is_damaged_utf_8(raw: bytes) -> bool:
    """Whether bytes that are no UTF-8 are so in a few places only. Nearly any bytes are clean GB18030, so that decoding
    says little; Chinese in it is seldom sound UTF-8, and fails byte by byte."""
    sound = raw.decode("utf-8", "ignore")
    letters = sum(char > "\x7f" for char in sound)
    bad_bytes = len(raw) - len(sound.encode())
    bad_places = raw.decode("utf-8", "replace").count("\ufffd") - sound.count("\ufffd")
    begun_letters = bad_bytes - bad_places  # one that was cut has several bytes in one place
    return letters + begun_letters >= bad_places


def _whole_number(text: str) -> int | OddNumber:
    return int(text) if len(text) <= MOST_INT_DIGITS else OddNumber(text)


def _number(text: str) -> float | OddNumber:
    number = float(text)
    return number if math.isfinite(number) else OddNumber(text)


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the JSON is nested too deeply"
    return "the body is not valid JSON"
