"""Server-Sent Events, read from the bytes of an answer as the HTML standard says."""

import re
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from dataclasses import dataclass
from typing import Final

# No other line separator counts: one of Unicode's may stand in the midst of a JSON text.
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One block. ``data``: None if there was none; ``id``: where to resume, None if it was not told;
    ``retry_s``: how long to wait before connecting again, if it was told."""

    type: str
    data: str | None
    id: str | None
    retry_s: float | None


class Lines:
    """Cuts bytes, in whatever pieces they come, into lines."""

    def __init__(self) -> None:
        self._rest = b""
        self._after_cr = False
        self._begun = False

    def feed(self, piece: bytes) -> Iterator[str]:
        """The lines that end in this piece."""
        if not piece:
            return
        if self._after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
            self._after_cr = False
        if piece:
            self._after_cr = piece.endswith(b"\r")
        first, *others = _LINE_END.split(piece)
        self._rest += first
        for line in others:
            yield self._decode(self._rest)
            self._rest = line

    def _decode(self, line: bytes) -> str:
        if not self._begun:
            self._begun = True
            line = line.removeprefix(_BOM)
        return line.decode("utf-8", "replace")


async def read_events(pieces: AsyncIterable[bytes]) -> AsyncGenerator[Event, None]:
    """The blocks of a stream. Comments are dropped, and so is a block that was cut off: its id must not count."""
    lines = Lines()
    fields: dict[str, str] = {}
    data: list[str] = []
    async for piece in pieces:
        for line in lines.feed(piece):
            if not line:
                if fields or data:
                    yield _event(fields, data)
                fields, data = {}, []
                continue
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                data.append(value)
            elif name:
                fields[name] = value


def _event(fields: dict[str, str], data: list[str]) -> Event:
    event_id = fields.get("id")
    retry = fields.get("retry", "")
    return Event(
        type=fields.get("event") or "message",
        data="\n".join(data) if data else None,
        id=event_id if event_id is not None and "\0" not in event_id else None,
        retry_s=int(retry) / 1000 if retry.isascii() and retry.isdigit() else None,
    )
