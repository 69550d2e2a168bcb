"""Between processes: what changed here is told to the others, and heard from them, within some 50 ms.

Never in the transaction that changes: there each notification would wait for the others'. It is a hint, which may
be lost; who waits also asks the tables, once per second.
"""

import asyncio
import base64
import secrets
from collections.abc import Callable, Collection
from itertools import islice
from typing import Final
from uuid import UUID

from app.context import Context
from app.database.listen import MOST_PAYLOAD_BYTES, notify
from app.errors import Unavailable
from app.runtime.loops import Loop

CHANNEL: Final = "gateway_changes"
GATHER_S: Final = 0.05
"""How long changes are gathered for one notification, which is a transaction of its own."""
MOST_CHANGED: Final = 5_000
"""More are told as "look at everything"."""
EVERYTHING: Final = "*"
PROBE_S: Final = 5.0
"""How often a quiet connection is asked whether it is still there."""
_ID_CHARS: Final = 22


class Announcements:
    """``heard(task_ids)`` is called for what others changed, ``missed()`` when something was perhaps not heard.
    Listens once ``start_listening`` was called, since a worker has nobody who waits."""

    def __init__(self, context: Context, heard: Callable[[Collection[UUID]], None], missed: Callable[[], None]) -> None:
        self._db = context.loops_db()
        self._heard = heard
        self._missed = missed
        self._sender = secrets.token_hex(4)
        self._changed: set[UUID] = set()
        self._changes, self._attention = asyncio.Event(), asyncio.Event()
        self._listens = False
        self._listener = self._db.listener(CHANNEL, self._receive, self._attention.set)
        if self._listener is not None:
            context.watchers.append(self.tell)

    @property
    def deaf(self) -> bool:
        """Whether others may change something without our hearing of it."""
        return self._listener is not None and not self._listener.is_open

    def loops(self) -> list[Loop]:
        """What has to turn for it; nothing where there are no other processes."""
        if self._listener is None:
            return []
        return [
            Loop("announce", self._announce, PROBE_S, self._changes),
            Loop("listen", self._keep_listening, PROBE_S, self._attention),
        ]

    def start_listening(self) -> None:
        """Somebody waits, now or again."""
        if not self._listens:
            self._listens = True
            self._attention.set()

    def tell(self, task_ids: Collection[UUID]) -> None:
        """These tasks changed here, durably."""
        if len(self._changed) <= MOST_CHANGED:
            self._changed.update(task_ids)
        self._changes.set()

    async def close(self) -> None:
        """Listen no more."""
        if self._listener is not None:
            await self._listener.close()

    async def _announce(self) -> float | None:
        """Tell the others what was gathered. What cannot be told is not told again: they will find it. A turn of a
        loop; raises ``Unavailable``."""
        if self._changed:
            await asyncio.sleep(GATHER_S)
            changed, self._changed = self._changed, set()
            payloads = write_payloads(self._sender, changed)
            try:
                await self._db.attempt(notify, CHANNEL, payloads)
            except Unavailable:
                # A connection that died while idle is found dead only by using it.
                await self._db.attempt(notify, CHANNEL, payloads)
        return None

    async def _keep_listening(self) -> float | None:
        """Listen, and see that the connection is good. A turn of a loop; raises ``Unavailable``."""
        if self._listener is None or not self._listens or not self._listener.is_possible:
            return None
        if self._listener.is_open:
            await self._listener.check()
        else:
            await self._listener.open()
            self._missed()
        return None

    def _receive(self, payload: str) -> None:
        sender, _, text = payload.partition(" ")
        if sender == self._sender:
            return
        task_ids = read_ids(text)
        if task_ids is None:
            self._missed()
        else:
            self._heard(task_ids)


def write_payloads(sender: str, task_ids: Collection[UUID]) -> list[str]:
    """Notifications that name these tasks, each within the limit; or one that says "everything"."""
    if len(task_ids) > MOST_CHANGED:
        return [f"{sender} {EVERYTHING}"]
    most = (MOST_PAYLOAD_BYTES - len(sender) - 1) // _ID_CHARS
    rest = iter(task_ids)
    payloads = []
    while some := list(islice(rest, most)):
        payloads.append(f"{sender} {''.join(base64.urlsafe_b64encode(one.bytes).decode()[:_ID_CHARS] for one in some)}")
    return payloads


def read_ids(text: str) -> set[UUID] | None:
    """The tasks that a notification names; None for "everything", and for what cannot be read."""
    parts = [text[start : start + _ID_CHARS] for start in range(0, len(text), _ID_CHARS)]
    try:
        return {UUID(bytes=base64.urlsafe_b64decode(f"{part}==")) for part in parts}
    except ValueError:
        return None
