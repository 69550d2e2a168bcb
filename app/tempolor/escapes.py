"""Take escapes off a text, layer by layer, and find where a piece of a layer stands in the original.

A secret that is sent back need not look as it was sent: a URL is percent-encoded, JSON escapes what it likes, a page
writes entities, and any of them may have been done twice. ``layers`` takes these off, one after the other.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

MOST_LAYERS: Final = 6
MOST_ESCAPES: Final = 20_000
"""Escapes that are taken off one text. The vendor escapes no letters; whoever writes so many means to keep us busy."""

LETTERS_ESCAPED: Final = (
    r"%(?:2[5dDeE]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF]|7[eE])"
    r"|&#0*(?:37|4[5-9]|[5-9][0-9]|1[0-2][0-9])|&#[xX]0*(?:2[5dDeE]|3[0-9]|[4-7][0-9a-fA-F])"
    r"|(?:%26|&amp;)(?:#|%23|\\u0023)|&(?:%23|\\u0023)",
    r"\\u00(?:2[5dDeE]|3[0-9]|[4-7]|26(?:#|%23|\\u0023|amp;))",
)
"""What writes a letter, a digit, one of ``-._~`` or the sign of another escape in another way than as itself, for the
regular expressions of Rust. Everyday texts have none of these: what has to be encoded in a URL is none of them. Apart,
since each is found by its first letters as long as these are few."""

_ESCAPE: Final = re.compile(
    rb"\\u00([2-7][0-9a-fA-F])|%([2-7][0-9a-fA-F])|&#0*([0-9]{2,3});?|&#[xX]0*([2-7][0-9a-fA-F]);?"
    rb"|&(amp|lt|gt|quot|apos);|\\([\"\\/])"
)
_ESCAPE_OF_ANY: Final = re.compile(
    rb"\\u([0-9a-fA-F]{4})|%([0-9a-fA-F]{2})|&#0*([0-9]{2,7});?|&#[xX]0*([0-9a-fA-F]{2,6});?"
    rb"|&(amp|lt|gt|quot|apos);|\\([\"\\/])"
)
_ENTITIES: Final = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}


class TooMuch(Exception):
    """There is more to be looked at than anybody writes who means no harm."""


@dataclass(slots=True)
class Layer:
    """A text with one layer of escapes taken off. ``starts``: where in ``text`` each escape's own bytes begin;
    ``lengths`` how many they are, and ``origins`` where the escape stood in the layer below."""

    text: bytes
    below: "Layer | None" = None
    starts: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    origins: list[tuple[int, int]] = field(default_factory=list)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where a piece of this layer's text stands in the original, whole escapes included."""
        if self.below is None:
            return start, end
        return self.below.span(self._origin(start)[0], self._origin(end - 1)[1])

    def _origin(self, place: int) -> tuple[int, int]:
        escape = bisect_right(self.starts, place) - 1
        if escape < 0:
            return place, place + 1
        beyond = place - self.starts[escape] - self.lengths[escape]
        if beyond < 0:
            return self.origins[escape]
        return self.origins[escape][1] + beyond, self.origins[escape][1] + beyond + 1


def layers(raw: bytes, *, ascii_only: bool = True) -> Iterator[Layer]:
    """Yield the text as it is, then with one layer of escapes less each time. ``ascii_only``: leave escapes of other
    characters as they are. Raises ``TooMuch``."""
    escape = _ESCAPE if ascii_only else _ESCAPE_OF_ANY
    layer = Layer(raw)
    yield layer
    budget = MOST_ESCAPES
    for _ in range(MOST_LAYERS):
        peeled = _peeled(layer, escape, budget)
        if not peeled.starts:
            return
        budget -= len(peeled.starts)
        yield peeled
        layer = peeled


def peeled_text(text: bytes, *, ascii_only: bool = True) -> bytes:
    """Take all layers of escapes off a text."""
    return [layer.text for layer in layers(text, ascii_only=ascii_only)][-1]


def _peeled(below: Layer, escape: re.Pattern[bytes], budget: int) -> Layer:
    layer = Layer(b"", below)
    pieces: list[bytes] = []
    last = size = 0
    for match in escape.finditer(below.text):
        if len(layer.starts) >= budget:
            raise TooMuch
        meant = _meant(match)
        start, end = match.span()
        size += start - last
        layer.starts.append(size)
        layer.lengths.append(len(meant))
        layer.origins.append((start, end))
        pieces += (below.text[last:start], meant)
        size += len(meant)
        last = end
    layer.text = b"".join((*pieces, below.text[last:]))
    return layer


def _meant(match: re.Match[bytes]) -> bytes:
    """The bytes that an escape stands for."""
    json_hex, percent, decimal, html_hex, entity, backslashed = match.groups()
    if percent is not None:
        return bytes((int(percent, 16),))
    if entity is not None:
        return _ENTITIES[entity]
    if backslashed is not None:
        return bytes(backslashed)
    if decimal is not None:
        return _encoded(int(decimal))
    return _encoded(int(json_hex or html_hex, 16))


def _encoded(number: int) -> bytes:
    return chr(number).encode(errors="replace") if number < 0x110000 else b"?"
