"""Stream tickets: what opens a stream once, in place of an API key, for a browser's ``EventSource``, which sends no
header."""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from app.clients import client_rows
from app.database.database import Database
from app.database.tables import stream_tickets
from app.errors import Unauthenticated
from app.rules.client import Client
from app.runtime.clock import Clock

LIFETIME: Final = timedelta(minutes=1)


class Ticket(NamedTuple):
    """A new ticket, which is kept nowhere else."""

    ticket: str
    expires_at: datetime


async def issue(db: Database, clock: Clock, client: Client) -> Ticket:
    """Issue a ticket that opens one stream of a client within a minute. Raises ``Unavailable``."""
    issued = Ticket(f"tpt_{secrets.token_urlsafe(32)}", clock.now() + LIFETIME)
    await db.write(_store, issued, client, clock.now())
    return issued


async def redeem(db: Database, clock: Clock, ticket: str) -> Client:
    """Use a ticket up, and return its client. Raises ``Unauthenticated`` for one that is unknown, used or expired, and
    where the key with which it was issued has ended."""
    client = await db.write(_redeem, ticket, clock.now())
    if client is None:
        raise Unauthenticated("the ticket was used, has expired, or was never issued")
    return client


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()


def _store(conn: sa.Connection, issued: Ticket, client: Client, now: datetime) -> None:
    table = stream_tickets
    conn.execute(table.delete().where(table.c.expires_at <= now))
    values = {"client_name": client.name, "key_digest": client.key, "expires_at": issued.expires_at}
    conn.execute(table.insert().values(digest=_digest(issued.ticket), **values))


def _redeem(conn: sa.Connection, ticket: str, now: datetime) -> Client | None:
    table = stream_tickets
    used = table.delete().where(table.c.digest == _digest(ticket)).returning(table.c.key_digest, table.c.expires_at)
    row = conn.execute(used).one_or_none()
    if row is None or row.expires_at <= now or row.key_digest is None:
        return None
    return client_rows.find_by_digest(conn, row.key_digest, now)
