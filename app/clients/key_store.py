"""The keys of a client: the present one, the one before while it may still be used, and when each was used last."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from app.clients.client_rows import NO_PREVIOUS_KEY, key_digest
from app.database import dialect
from app.database.tables import clients

ClientKey = tuple[str, bytes | None]
"""A client's name, and the digest of the key by which it came, where that is known."""


def rotate(conn: sa.Connection, name: str, api_key: str, previous_until: datetime | None) -> bool:
    """Give a client a new key. The old one goes on until a time, or (None) ends at once, and so does one that was
    still going on before it. False if there is no such client."""
    values: dict[str, Any] = {**NO_PREVIOUS_KEY, "key_digest": key_digest(api_key), "key_used_at": None}
    if previous_until is not None:
        values |= {
            "previous_key_digest": clients.c.key_digest,
            "previous_key_until": previous_until,
            "previous_key_used_at": clients.c.key_used_at,
        }
    return _update(conn, name, values)


def drop_previous(conn: sa.Connection, name: str) -> bool:
    """End the key before the present one, if it goes on. False if there is no such client."""
    return _update(conn, name, NO_PREVIOUS_KEY)


def note_used(conn: sa.Connection, used: Mapping[bytes, datetime]) -> None:
    """Keep when keys were used last, by their digests."""
    if not used:
        return
    rows = [{"digest": digest, "at": at} for digest, at in sorted(used.items())]
    for key, used_at in (("key_digest", "key_used_at"), ("previous_key_digest", "previous_key_used_at")):
        known = clients.c[used_at]
        at = sa.bindparam("at", type_=known.type)
        is_later = sa.or_(known.is_(None), known < at)
        statement = clients.update().where(clients.c[key] == sa.bindparam("digest"), is_later).values({known: at})
        conn.execute(statement, rows)


def ended(conn: sa.Connection, held: Collection[ClientKey], now: datetime) -> set[ClientKey]:
    """Which of these keys are good no more: their client was revoked, or they were replaced and their time is up."""
    names = sorted({name for name, _ in held})
    if not names:
        return set()
    c = clients.c
    kept = sa.select(c.name, c.key_digest, c.previous_key_digest, c.previous_key_until, c.revoked_at)
    found = conn.execute(kept.where(dialect.any_of(conn, c.name, names)))
    rows = {row.name: row for row in found}
    return {(name, key) for name, key in held if name in rows and not _is_good(rows[name], key, now)}


def _is_good(row: Any, key: bytes | None, now: datetime) -> bool:
    if row.revoked_at is not None:
        return False
    if key is None or key == row.key_digest:
        return True
    return bool(key == row.previous_key_digest and row.previous_key_until > now)


def _update(conn: sa.Connection, name: str, values: Mapping[str, Any]) -> bool:
    matches = sa.and_(clients.c.name == name, clients.c.revoked_at.is_(None))
    return conn.execute(clients.update().where(matches).values(**values)).rowcount == 1
