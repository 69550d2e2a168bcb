"""Forms that bring files along (multipart/form-data), read as a stream: fields are kept, and each file is stored, and
its reference takes the place of the field's text."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Final

from fastapi import Request
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from app.archive import uploads
from app.errors import InvalidRequest, PayloadTooLarge
from app.web.bodies import pieces_of

FILE_PREFIX: Final = "file:"
"""Before the name of a field, in the name of the input that takes a file for it."""
MULTIPART: Final = "multipart/form-data"
_MOST_PARTS: Final = 100

_Events = AsyncGenerator[MultipartSegment | bytes | bytearray | None, None]
StoreFile = Callable[[dict[str, str], str, str, AsyncIterator[bytes]], Awaitable[str]]


def brings_files(request: Request) -> bool:
    """Whether a form is sent in parts."""
    return bool(_encoding(request)[0] == MULTIPART)


async def read_parts(
    request: Request, most_field_bytes: int, store_file: StoreFile
) -> tuple[dict[str, str], dict[str, str]]:
    """Read a form in parts. Returns its fields, and by their names the faults of files that were refused.

    ``store_file``: stores a file and returns the reference, given the fields before it, the file's name, its media type
    as the browser sees it, and its bytes; an ``InvalidRequest`` or ``PayloadTooLarge`` of it is the file's fault, and
    the form is read on. Raises ``InvalidRequest`` for what is no form, ``PayloadTooLarge``, and what reading a body
    raises."""
    fields: dict[str, str] = {}
    faults: dict[str, str] = {}
    left = most_field_bytes
    events = _events(request, most_field_bytes + uploads.MOST_BYTES)
    try:
        async for event in events:
            # Bytes that nobody took are of a file that was refused.
            if not isinstance(event, MultipartSegment):
                continue
            name, body = event.name or "", _body(events)
            if name.startswith(FILE_PREFIX):
                # An input in which nothing was chosen is sent as a file without a name.
                if event.filename:
                    field = name.removeprefix(FILE_PREFIX)
                    try:
                        media_type = event.content_type or ""
                        fields[field] = await store_file(fields, event.filename, media_type, body)
                    except (InvalidRequest, PayloadTooLarge) as error:
                        faults[field] = error.detail
                continue
            value = bytearray()
            async for piece in body:
                left -= len(piece)
                if left < 0:
                    raise PayloadTooLarge(f"the fields of the form are over {most_field_bytes} bytes")
                value += piece
            # Where a file came for it, the file counts.
            fields.setdefault(name, value.decode())
    except (MultipartError, UnicodeDecodeError):
        raise InvalidRequest("the form cannot be read") from None
    finally:
        await events.aclose()
    return fields, faults


async def _events(request: Request, most_bytes: int) -> _Events:
    boundary = _encoding(request)[1].get("boundary", "")
    left = most_bytes
    with PushMultipartParser(boundary, max_segment_count=_MOST_PARTS, strict=True) as parser:
        async for piece in pieces_of(request, most_bytes):
            left -= len(piece)
            if left < 0:
                raise PayloadTooLarge(f"the form is over {most_bytes} bytes")
            if piece:
                for event in parser.parse(piece):
                    yield event


async def _body(events: _Events) -> AsyncIterator[bytes]:
    """The bytes of one part, to its end."""
    async for event in events:
        if event is None:
            return
        if not isinstance(event, MultipartSegment):
            yield bytes(event)


def _encoding(request: Request) -> tuple[str, dict[str, str]]:
    found: tuple[str, dict[str, str]] = parse_options_header(  # type: ignore[no-untyped-call]
        request.headers.get("content-type", "")
    )
    return found
