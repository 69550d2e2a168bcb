"""Tickets: what stands in for an API key once and not for long. One opens a stream, for a browser's ``EventSource``,
which sends no header; another the console, for whoever is handed a link to it.

A row is a ticket that nobody has used yet. To use it is to delete the row, so that one ticket is good once for all
replicas together, and over restarts.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from app.audit import audit
from app.audit.audit import Action, Actor, AuditEntry, new_entry
from app.clients import client_rows
from app.database.database import Database
from app.database.tables import clients, stream_tickets
from app.errors import NotFound, Unauthenticated
from app.rules.client import Client
from app.runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a ticket is good for, and how long. ``prefix``: how one begins; a ticket of another purpose is refused."""

    prefix: str
    lifetime: timedelta


STREAM: Final = Purpose("tpt_", timedelta(minutes=1))
CONSOLE: Final = Purpose("tpc_", timedelta(minutes=15))


class Ticket(NamedTuple):
    """A new ticket, which is kept nowhere else."""

    ticket: str
    expires_at: datetime


async def issue_for_stream(db: Database, clock: Clock, client: Client) -> Ticket:
    """Issue a ticket that opens one stream of a client within a minute. Raises ``Unavailable``."""
    issued = _new(STREAM, clock)
    await db.write(_store, issued, client.name, client.key, clock.now())
    return issued


async def issue_for_console(db: Database, clock: Clock, actor: Actor, name: str) -> Ticket:
    """Issue a ticket that signs in to the console once as a client, within a quarter of an hour. Raises ``NotFound``,
    ``Unavailable``."""
    issued = _new(CONSOLE, clock)
    if not await db.write(_store_for_console, issued, name, new_entry(clock, actor, Action.CONSOLE_LINK, name)):
        raise NotFound("there is no such client")
    return issued


def link(url: str, issued: Ticket) -> str:
    """The link to the console of the gateway at a URL. The ticket stands where no browser sends it to a server, so that
    no log of a proxy has it, and nothing that only looks at the link uses it up."""
    return f"{url.rstrip('/')}/console/link#{issued.ticket}"


async def redeem(db: Database, clock: Clock, ticket: str, purpose: Purpose) -> Client:
    """Use a ticket up, and return its client with the digest of the key that it stood in for. Raises
    ``Unauthenticated`` for one that is unknown, used, expired or of another purpose, and where its key has ended."""
    client = await db.write(_redeem, ticket, clock.now()) if ticket.startswith(purpose.prefix) else None
    if client is None:
        raise Unauthenticated("the ticket was used, has expired, or was never issued")
    return client


def _new(purpose: Purpose, clock: Clock) -> Ticket:
    return Ticket(purpose.prefix + secrets.token_urlsafe(32), clock.now() + purpose.lifetime)


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()


def _store(conn: sa.Connection, issued: Ticket, name: str, key_digest: bytes | None, now: datetime) -> None:
    table = stream_tickets
    conn.execute(table.delete().where(table.c.expires_at <= now))
    values = {"client_name": name, "key_digest": key_digest, "expires_at": issued.expires_at}
    conn.execute(table.insert().values(digest=_digest(issued.ticket), **values))


def _store_for_console(conn: sa.Connection, issued: Ticket, name: str, audit_entry: AuditEntry) -> bool:
    key_digest = conn.scalar(sa.select(clients.c.key_digest).where(client_rows.is_active(name)))
    if key_digest is None:
        return False
    _store(conn, issued, name, key_digest, audit_entry.at)
    audit.append(conn, audit_entry)
    return True


def _redeem(conn: sa.Connection, ticket: str, now: datetime) -> Client | None:
    table = stream_tickets
    used = table.delete().where(table.c.digest == _digest(ticket)).returning(table.c.key_digest, table.c.expires_at)
    row = conn.execute(used).one_or_none()
    if row is None or row.expires_at <= now or row.key_digest is None:
        return None
    return client_rows.find_by_digest(conn, row.key_digest, now)
