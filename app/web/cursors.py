"""Cursors of keyset pagination: where a page ended, bound to the filters that it was made with."""

import hashlib
from typing import Any
from uuid import UUID

from app.errors import BadCursor
from app.runtime import base64url

_DIGEST_BYTES = 8
_MOST_SEQ = 2**31 - 1


def make(last_id: str, filters: Any) -> str:
    """Make a cursor after ``last_id``, for these filters only."""
    return base64url.encode(UUID(last_id).bytes + _digest(filters))


def read(cursor: str | None, filters: Any) -> UUID | None:
    """Read the id at which the previous page ended; None for the first page. Raises ``BadCursor``."""
    if cursor is None:
        return None
    raw = base64url.decode(cursor)
    if raw is None or len(raw) != 16 + _DIGEST_BYTES:
        raise BadCursor("the cursor cannot be read")
    if raw[16:] != _digest(filters):
        raise BadCursor("the cursor belongs to other filters")
    return UUID(bytes=raw[:16])


def page(rows: list[dict[str, Any]], limit: int, filters: Any) -> dict[str, Any]:
    """Make a page of ``limit`` rows, of which one more was read to know whether there is a next page."""
    shown = rows[:limit]
    return {"data": shown, "next_cursor": make(shown[-1]["id"], filters) if len(rows) > limit else None}


def make_seq(last_seq: int, filters: Any) -> str:
    """Make a cursor after ``last_seq``, where rows are numbered."""
    return make(str(UUID(int=last_seq)), filters)


def read_seq(cursor: str | None, filters: Any) -> int:
    """Read the number at which the previous page ended; 0 for the first page. Raises ``BadCursor``."""
    last = read(cursor, filters)
    seq = last.int if last is not None else 0
    if seq > _MOST_SEQ:
        raise BadCursor("the cursor cannot be read")
    return seq


def _digest(filters: Any) -> bytes:
    return hashlib.sha256(repr(filters).encode()).digest()[:_DIGEST_BYTES]
