"""Bodies that come compressed: gzip is unpacked within the limit of the body, everything else is left as it came."""

import zlib
from typing import Final

from app.errors import PayloadTooLarge

_GZIP: Final = frozenset({"gzip", "x-gzip"})
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


def unpacked(body: bytes, encoding: str, most_bytes: int) -> bytes:
    """The body behind its ``Content-Encoding``, in lower case. What is not of the encoding that it claims may be plain,
    and what is of one that is not read here turns out to be no JSON: both come back as they are. The limit is that of
    what comes out, and is held while it does. Raises ``PayloadTooLarge``."""
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
