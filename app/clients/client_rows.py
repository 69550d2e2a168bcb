"""Rows of clients. An API key is stored as its SHA-256: it is random and long, so a slow hash gains nothing."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import clients, idempotency_keys, notifications, tasks, uploads
from app.rules.client import Client

NO_PREVIOUS_KEY: Final = {"previous_key_digest": None, "previous_key_until": None, "previous_key_used_at": None}


def key_digest(api_key: str) -> bytes:
    return hashlib.sha256(api_key.encode()).digest()


# Built once: every start executes them.
_NAME: Final = sa.bindparam("of_name", type_=sa.String)
_DIGEST: Final = sa.bindparam("digest", type_=sa.LargeBinary)
_TAKEN: Final = sa.select(clients.c.name).where(sa.or_(clients.c.name == _NAME, clients.c.key_digest == _DIGEST))
_OTHER: Final = sa.select(clients.c.name).where(clients.c.key_digest == _DIGEST, clients.c.name != _NAME)
_DROP_PREVIOUS: Final = clients.update().where(clients.c.previous_key_digest == _DIGEST).values(**NO_PREVIOUS_KEY)


def add(conn: sa.Connection, name: str, api_key: str, webhook_secret: str, *, is_admin: bool, now: datetime) -> bool:
    """Add a client; false if the name or the key is taken (also by a revoked client)."""
    digest = key_digest(api_key)
    if conn.scalar(_TAKEN, {"of_name": name, "digest": digest}) is not None:
        return False
    insert = dialect.insert(conn, clients).on_conflict_do_nothing(index_elements=["name"])
    values = {"key_digest": digest, "is_admin": is_admin, "webhook_secret": webhook_secret, "created_at": now}
    return conn.execute(insert.values(name=name, **values)).rowcount == 1


def restore(
    conn: sa.Connection, name: str, api_key: str, webhook_secret: str, *, is_admin: bool, now: datetime
) -> str | None:
    """Make sure that a client exists with this key: added, or un-revoked and given the key. Returns the name of another
    client that has it, revoked or not; nothing is changed then."""
    digest = key_digest(api_key)
    other: str | None = conn.scalar(_OTHER, {"of_name": name, "digest": digest})
    if other is not None:
        return other
    conn.execute(_DROP_PREVIOUS, {"digest": digest})
    if not add(conn, name, api_key, webhook_secret, is_admin=is_admin, now=now):
        used_at = sa.case((clients.c.key_digest == digest, clients.c.key_used_at))
        values = {"key_digest": digest, "is_admin": is_admin, "revoked_at": None, "key_used_at": used_at}
        conn.execute(clients.update().where(clients.c.name == name).values(**values))
    return None


def drop_expired_name(conn: sa.Connection, name: str, revoked_before: datetime) -> None:
    """Delete a client that was revoked before a time, so that its name is free; not while anything is kept of it, which
    whoever gets the name next would see."""
    owned = (tasks, notifications, uploads, idempotency_keys)
    kept = [sa.select(sa.literal(1)).where(table.c.client_name == name).exists() for table in owned]
    conn.execute(clients.delete().where(clients.c.name == name, clients.c.revoked_at < revoked_before, ~sa.or_(*kept)))


# Built once: every request of the API executes it.
_IS_PREVIOUS: Final = sa.and_(
    clients.c.previous_key_digest == _DIGEST, clients.c.previous_key_until > sa.bindparam("now")
)
_BY_KEY: Final = sa.select(clients).where(
    sa.or_(clients.c.key_digest == _DIGEST, _IS_PREVIOUS), clients.c.revoked_at.is_(None)
)


def find_by_digest(conn: sa.Connection, digest: bytes, now: datetime) -> Client | None:
    """Find the active client of a key by the digest of the key: the present one, or the one before while it is still
    valid."""
    row = conn.execute(_BY_KEY, {"digest": digest, "now": now}).one_or_none()
    return replace(_client(row), key=digest) if row else None


def is_active(name: str) -> sa.ColumnElement[bool]:
    """The condition that a client has this name and was not revoked."""
    return sa.and_(clients.c.name == name, clients.c.revoked_at.is_(None))


def find_active(conn: sa.Connection, name: str) -> Client | None:
    """Find a client by its name, unless it was revoked."""
    row = conn.execute(sa.select(clients).where(is_active(name))).one_or_none()
    return _client(row) if row else None


def list_all(conn: sa.Connection) -> Sequence[Client]:
    """All clients by name, the revoked ones too."""
    return [_client(row) for row in conn.execute(sa.select(clients).order_by(clients.c.name))]


def webhook_secrets(
    conn: sa.Connection, names: Collection[str], *, rotated_after: datetime
) -> dict[str, tuple[str, ...]]:
    """Read the secrets that sign for clients: the one before too where it was replaced after a time. A client that was
    revoked has none and is left out."""
    if not names:
        return {}
    wanted = sa.and_(dialect.any_of(conn, clients.c.name, sorted(names)), clients.c.revoked_at.is_(None))
    c = clients.c
    statement = sa.select(c.name, c.webhook_secret, c.previous_webhook_secret, c.rotated_at).where(wanted)
    secrets: dict[str, tuple[str, ...]] = {}
    for row in conn.execute(statement):
        rotating = row.rotated_at is not None and row.rotated_at >= rotated_after
        secrets[row.name] = (row.webhook_secret, row.previous_webhook_secret) if rotating else (row.webhook_secret,)
    return secrets


def rotate_webhook_secret(conn: sa.Connection, name: str, secret: str, now: datetime) -> bool:
    """Give a client a new secret and keep the old one beside it; false if there is no such client."""
    values = {"webhook_secret": secret, "previous_webhook_secret": clients.c.webhook_secret, "rotated_at": now}
    return conn.execute(clients.update().where(is_active(name)).values(**values)).rowcount == 1


def set_webhook(conn: sa.Connection, name: str, values: Mapping[str, Any]) -> Client | None:
    """Set a client's default ``webhook_url`` or ``webhook_events``, or both; the client as it is then, None if there is
    no such client."""
    if values:
        conn.execute(clients.update().where(is_active(name)).values(**values))
    row = conn.execute(sa.select(clients).where(is_active(name))).one_or_none()
    return _client(row) if row else None


def revoke(conn: sa.Connection, name: str, now: datetime) -> bool:
    """End a client's key; false if there is no such client, or it was revoked already."""
    return conn.execute(clients.update().where(is_active(name)).values(revoked_at=now)).rowcount == 1


def _client(row: Any) -> Client:
    used = (row.key_used_at, row.previous_key_until, row.previous_key_used_at)
    return Client(row.name, row.is_admin, row.created_at, row.revoked_at, *used, row.webhook_url, row.webhook_events)
