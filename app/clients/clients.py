"""Create, list and revoke clients. A key and a webhook secret are shown once, when they are made."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
import structlog

from app.audit import audit
from app.audit.audit import COMMAND_LINE, Action, Actor, new_entry
from app.clients import client_rows
from app.clients.keys import BOOTSTRAP, new_api_key
from app.database.database import Database
from app.errors import BadSettings, Conflict, InvalidRequest, NotFound, Unavailable
from app.notifications import outbox
from app.rules.client import EXTERNAL, Client
from app.runtime.clock import Clock
from app.runtime.signing import new_webhook_secret
from app.tasks.notification_rows import client_of

NAME_RESERVED: Final = timedelta(days=30)
"""How long a name is not given again after its client was revoked."""
ROTATION: Final = timedelta(hours=24)
"""How long the previous secret signs beside a new one."""
MOST_NAME_CHARS: Final = 100
BATCH: Final = 100
"""Rows that one transaction of a large write changes at most, so that callbacks do not wait for all of it."""
_EVER: Final = datetime.max.replace(tzinfo=UTC)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NewClient:
    """A new client with its secrets, which are kept nowhere else."""

    client: Client
    api_key: str
    webhook_secret: str


def check_name(name: str) -> None:
    """Raises ``InvalidRequest`` for a name that cannot be a client's."""
    usable = 1 <= len(name) <= MOST_NAME_CHARS and name.isprintable() and name == name.strip() and "/" not in name
    if not usable:
        raise InvalidRequest("a client's name has 1 to 100 printable characters and no '/'")
    if name in (EXTERNAL, BOOTSTRAP) or name.startswith(COMMAND_LINE):
        raise InvalidRequest(f"the name {name!r} is reserved")


async def create(db: Database, clock: Clock, actor: Actor, name: str, *, is_admin: bool) -> NewClient:
    """Create a client. Raises ``InvalidRequest``, ``Conflict`` if the name is taken."""
    check_name(name)
    api_key = new_api_key()
    webhook_secret = new_webhook_secret()
    now = clock.now()
    audit_entry = new_entry(clock, actor, Action.CREATE_CLIENT, name, admin=is_admin)
    if not await db.write(audit.recorded, audit_entry, _create, name, api_key, webhook_secret, is_admin, now):
        raise Conflict(
            f"the name {name!r} is taken, or was until less than {NAME_RESERVED.days} days ago, or something is kept "
            "of who had it (`clients erase` removes that)"
        )
    return NewClient(Client(name, is_admin, now, None), api_key, webhook_secret)


async def list_all(db: Database) -> list[Client]:
    """All clients by name, the revoked ones too."""
    return list(await db.read(client_rows.list_all))


def client_document(client: Client) -> dict[str, object]:
    """Render a client as admins see it, without its secrets."""
    return {
        "name": client.name,
        "admin": client.is_admin,
        "created_at": client.created_at,
        "revoked_at": client.revoked_at,
        "key_last_used_at": client.key_used_at,
        "previous_key_until": client.previous_key_until,
        "previous_key_last_used_at": client.previous_key_used_at,
    }


async def find_active(db: Database, name: str) -> Client:
    """Find a client by its name. Raises ``NotFound``, also where it was revoked."""
    client = await db.read(client_rows.find_active, name)
    if client is None:
        raise NotFound("there is no such client")
    return client


async def revoke(db: Database, clock: Clock, actor: Actor, name: str) -> None:
    """Revoke a client: its key ends at once, its tasks run to their end, and its pending notifications become dead,
    ``BATCH`` in a transaction. Raises ``NotFound``. Where that is cut short, the rest becomes dead at its next attempt:
    nothing is posted for a client that was revoked."""
    audit_entry = new_entry(clock, actor, Action.REVOKE_CLIENT, name)
    if not await db.write(audit.recorded, audit_entry, client_rows.revoke, name, clock.now()):
        raise NotFound("there is no such client")
    try:
        await _end_pending(db, clock, name)
    except Unavailable as error:
        log.warning("client.pending_left", client=name, reason=error.detail)


async def rotate_webhook_secret(db: Database, clock: Clock, actor: Actor, name: str) -> str:
    """Give a client a new webhook secret, shown this once; the old one signs beside it for ``ROTATION``. Raises
    ``NotFound``."""
    secret = new_webhook_secret()
    audit_entry = new_entry(clock, actor, Action.ROTATE_WEBHOOK, name)
    if not await db.write(audit.recorded, audit_entry, client_rows.rotate_webhook_secret, name, secret, clock.now()):
        raise NotFound("there is no such client")
    return secret


async def set_webhook(db: Database, name: str, values: Mapping[str, Any]) -> Client:
    """Set a client's default ``webhook_url`` or ``webhook_events``, or both, for the tasks that it submits from now on.
    Raises ``NotFound``."""
    client = await db.write(client_rows.set_webhook, name, values)
    if client is None:
        raise NotFound("there is no such client")
    return client


async def ensure_bootstrap(db: Database, clock: Clock, api_key: str) -> None:
    """Make sure that the admin ``bootstrap`` exists with this key. Raises ``BadSettings`` where it is another
    client's."""
    secret = new_webhook_secret()
    other = await db.write(client_rows.restore, BOOTSTRAP, api_key, secret, is_admin=True, now=clock.now())
    if other is not None:
        raise BadSettings([f"GATEWAY_BOOTSTRAP_ADMIN_KEY: it is the API key of the client {other!r}"])


async def _end_pending(db: Database, clock: Clock, name: str) -> None:
    """Make a client's pending notifications dead; its receivers are found among all that have something pending."""
    cursor = ""
    while True:
        receivers, cursor = await db.read(outbox.due_receivers, _EVER, cursor)
        own = [receiver for receiver in receivers if client_of(receiver) == name]
        while own and await db.write(outbox.end_of_client, own, clock.now(), BATCH) == BATCH:
            pass
        if not cursor:
            return


def _create(
    conn: sa.Connection,
    name: str,
    api_key: str,
    webhook_secret: str,
    is_admin: bool,
    now: datetime,
) -> bool:
    client_rows.drop_expired_name(conn, name, now - NAME_RESERVED)
    return client_rows.add(conn, name, api_key, webhook_secret, is_admin=is_admin, now=now)
