"""API keys: rotate them without a gap, and note when each was used last."""

import math
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from app.audit import audit
from app.audit.audit import Action, Actor, new_entry
from app.clients import key_store
from app.database.database import Database
from app.errors import Conflict, InvalidRequest, NotFound
from app.rules.client import Client
from app.runtime.clock import Clock

BOOTSTRAP: Final = "bootstrap"
"""The admin whose key is in the settings."""
OVERLAP_S: Final = 86_400.0
"""How long the previous key stays valid beside a new one, by default."""
MOST_OVERLAP_S: Final = 30 * 86_400.0
FLUSH_S: Final = 60.0
"""How often the times of use are written: at most once in this time for each key and process."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key, which is kept nowhere else, and until when the previous one stays valid."""

    name: str
    api_key: str
    previous_key_until: datetime | None


def new_api_key() -> str:
    """Make a random key."""
    return f"tpg_{secrets.token_urlsafe(32)}"


async def rotate(db: Database, clock: Clock, actor: Actor, name: str, overlap_s: float = OVERLAP_S) -> NewKey:
    """Give a client a new key, shown this once; the previous one stays valid for ``overlap_s`` seconds, 0: not at all.
    A client has two keys at most: one from an earlier rotation ends now. Raises ``InvalidRequest``, ``NotFound``, and
    ``Conflict`` for the admin whose key is in the settings."""
    if not math.isfinite(overlap_s) or not 0 <= overlap_s <= MOST_OVERLAP_S:
        raise InvalidRequest(f"the overlap is 0 to {MOST_OVERLAP_S:.0f} seconds")
    if name == BOOTSTRAP:
        raise Conflict("the key of 'bootstrap' is set by GATEWAY_BOOTSTRAP_ADMIN_KEY")
    api_key = new_api_key()
    until = clock.now() + timedelta(seconds=overlap_s) if overlap_s else None
    audit_entry = new_entry(clock, actor, Action.ROTATE_KEY, name, overlap_s=overlap_s)
    if not await db.write(audit.recorded, audit_entry, key_store.rotate, name, api_key, until):
        raise NotFound("there is no such client")
    return NewKey(name, api_key, until)


async def drop_previous(db: Database, clock: Clock, actor: Actor, name: str) -> None:
    """End the previous key at once, if it is still valid. Raises ``NotFound``."""
    audit_entry = new_entry(clock, actor, Action.DROP_KEY, name)
    if not await db.write(audit.recorded, audit_entry, key_store.drop_previous, name):
        raise NotFound("there is no such client")


class KeyUses:
    """Gathers times of use of keys until the next ``flush``. In memory, since no request should wait for such a write;
    a process that is killed loses the last minute."""

    def __init__(self) -> None:
        self._used: dict[bytes, datetime] = {}

    def note(self, client: Client, now: datetime) -> None:
        """Note that this client's key was used."""
        if client.key is not None:
            self._used[client.key] = now

    async def step(self, db: Database) -> float | None:
        """Flush. A loop iteration. Raises ``Unavailable``."""
        await self.flush(db)
        return FLUSH_S

    async def flush(self, db: Database) -> None:
        """Write the times of use, in a transaction of its own. Raises ``Unavailable``, and keeps them then."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await db.write(key_store.note_used, used)
        except BaseException:
            self._used = used | self._used
            raise
