"""Rows of API keys: the present key, the previous one while it is still valid, and when each was used last."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from app.clients.client_rows import NO_PREVIOUS_KEY, is_active, key_digest
from app.database import dialect
from app.database.tables import clients

ClientKey = tuple[str, bytes | None]
"""A client's name, and the digest of the key by which a request came, where that is known."""


def rotate(conn: sa.Connection, name: str, api_key: str, previous_until: datetime | None) -> bool:
    """Give a client a new key. The old one stays valid until a time, or (None) ends at once; one from an earlier
    rotation ends at once too. False if there is no such client."""
    values: dict[str, Any] = {**NO_PREVIOUS_KEY, "key_digest": key_digest(api_key), "key_used_at": None}
    if previous_until is not None:
        values |= {
            "previous_key_digest": clients.c.key_digest,
            "previous_key_until": previous_until,
            "previous_key_used_at": clients.c.key_used_at,
        }
    return _update(conn, name, values)


def drop_previous(conn: sa.Connection, name: str) -> bool:
    """End the previous key, if it is still valid. False if there is no such client."""
    return _update(conn, name, NO_PREVIOUS_KEY)


def _note_used(key: sa.Column[Any], used_at: sa.Column[Any]) -> sa.Update:
    at = sa.bindparam("at", type_=used_at.type)
    is_later = sa.or_(used_at.is_(None), used_at < at)
    return clients.update().where(key == sa.bindparam("digest"), is_later).values({used_at: at})


_NOTE_USED: Final = (
    _note_used(clients.c.key_digest, clients.c.key_used_at),
    _note_used(clients.c.previous_key_digest, clients.c.previous_key_used_at),
)


def note_used(conn: sa.Connection, used: Mapping[bytes, datetime]) -> None:
    """Store when keys were used last, by their digests."""
    if not used:
        return
    rows = [{"digest": digest, "at": at} for digest, at in sorted(used.items())]
    for statement in _NOTE_USED:
        conn.execute(statement, rows)


def ended(conn: sa.Connection, keys: Collection[ClientKey], now: datetime) -> set[ClientKey]:
    """Find keys that are valid no more: their client was revoked, or they were rotated and their overlap is over."""
    names = sorted({name for name, _ in keys})
    if not names:
        return set()
    c = clients.c
    statement = sa.select(c.name, c.key_digest, c.previous_key_digest, c.previous_key_until, c.revoked_at)
    rows = {row.name: row for row in conn.execute(statement.where(dialect.any_of(conn, c.name, names)))}
    return {(name, key) for name, key in keys if name in rows and not _is_valid(rows[name], key, now)}


def _is_valid(row: Any, key: bytes | None, now: datetime) -> bool:
    if row.revoked_at is not None:
        return False
    if key is None or key == row.key_digest:
        return True
    return bool(key == row.previous_key_digest and row.previous_key_until > now)


def _update(conn: sa.Connection, name: str, values: Mapping[str, Any]) -> bool:
    return conn.execute(clients.update().where(is_active(name)).values(**values)).rowcount == 1
