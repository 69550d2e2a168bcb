"""Make answers of undocumented forms with the usual content, and answers that are far too large."""

import gzip
import json
import struct
import zlib
from functools import cache
from typing import Any, Final

import msgspec

from app.sandbox.config import Excess, Form

FLOOD_IDS: Final = 500_000
FLOOD_ITEMS: Final = 1_000_000
BOMB_BYTES: Final = 512 * 1024 * 1024
_PIECE: Final = bytes(b" " * 1024 * 1024)


def reshape(form: Form, envelope: dict[str, Any]) -> bytes:
    """Encode the usual ``envelope`` in another form."""
    content = envelope["data"]
    match form:
        case "flat":
            return msgspec.json.encode(content)
        case "data_list":
            return msgspec.json.encode({**envelope, "data": next(iter(content.values()), [])})
        case "text_status":
            return msgspec.json.encode({**envelope, "status": str(envelope["status"])})
        case "broken_text":
            # The first letter of two bytes loses its second, as where a text was cut by bytes.
            return msgspec.json.encode(_with_text(envelope, "Café")).replace("é".encode(), b"\xc3")
        case "raw_newline":
            return msgspec.json.encode(_with_text(envelope, "one\ntwo")).replace(b"one\\ntwo", b"one\ntwo")
        case "gbk":
            return json.dumps(_with_text(envelope, "港湾之光"), ensure_ascii=False).encode("gb18030")


def exceed(excess: Excess, envelope: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """Make body and headers of an answer with the usual content and far too much beside it."""
    match excess:
        case "gzip_bomb":
            return _bomb(), {"Content-Encoding": "gzip"}
        case "gzip_twice":
            return gzip.compress(_bomb()), {"Content-Encoding": "gzip, gzip"}
        case "flood":
            return msgspec.json.encode({**envelope, "data": _flooded(envelope["data"])}), {}


def _with_text(envelope: dict[str, Any], text: str) -> dict[str, Any]:
    """The envelope with a title in each of its items, and as its message where it has none."""
    content = {
        name: [{**item, "title": text} if isinstance(item, dict) else item for item in value]
        for name, value in envelope["data"].items()
        if isinstance(value, list)
    }
    return {**envelope, "message": text, "data": {**envelope["data"], **content}}


def _flooded(content: dict[str, Any]) -> dict[str, Any]:
    if "item_ids" in content:
        return {"item_ids": [*content["item_ids"], *(f"flood_{n}" for n in range(FLOOD_IDS))]}
    more = [{"item_id": f"flood_{n}"} for n in range(FLOOD_ITEMS)]
    return {name: [*value, *more] if isinstance(value, list) else value for name, value in content.items()}


@cache
def _bomb() -> bytes:
    """Half a megabyte of gzip that grows to half a gigabyte of blanks."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    # After a full flush a piece refers to nothing before it: one is packed, and repeated.
    packed = packer.compress(_PIECE) + packer.flush(zlib.Z_FULL_FLUSH)
    pieces, checksum = BOMB_BYTES // len(_PIECE), 0
    for _ in range(pieces):
        checksum = zlib.crc32(_PIECE, checksum)
    head = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    return head + packed * pieces + b"\x03\x00" + struct.pack("<II", checksum, pieces * len(_PIECE))
