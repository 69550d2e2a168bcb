"""Announce changed tasks to other processes over LISTEN/NOTIFY, within some 50 ms.

Never in the transaction that changes: there each NOTIFY would wait for the others'. An announcement is a hint, which
may be lost; the watch also polls the tables once per second.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection
from itertools import islice
from typing import Final
from uuid import UUID

from app.app_context import Context
from app.database.listen import MOST_PAYLOAD_BYTES, notify
from app.errors import Unavailable
from app.runtime import base64url
from app.runtime.loops import Loop

CHANNEL: Final = "gateway_changes"
GATHER_S: Final = 0.05
"""How long changes are gathered for one NOTIFY, which is a transaction of its own."""
MOST_CHANGED: Final = 5_000
"""More are announced as "everything"."""
EVERYTHING: Final = "*"
PROBE_S: Final = 5.0
"""How often an idle connection is checked."""
_ID_CHARS: Final = 22


class Announcements:
    """Announces this process's changes and receives those of others. ``on_changed(task_ids)`` is called for tasks that
    others changed, ``on_gap()`` when announcements may have been lost. Listens only after ``start_listening``, since
    nobody waits in a worker."""

    def __init__(
        self, context: Context, on_changed: Callable[[Collection[UUID]], None], on_gap: Callable[[], None]
    ) -> None:
        self._db = context.loops_db()
        self._on_changed = on_changed
        self._on_gap = on_gap
        self._process = secrets.token_hex(4)
        self._changed: set[UUID] = set()
        self._to_announce, self._to_listen = asyncio.Event(), asyncio.Event()
        self._listens = False
        self._listener = self._db.listener(CHANNEL, self._receive, self._to_listen.set)
        if self._listener is not None:
            context.watchers.append(self.announce)

    @property
    def may_miss(self) -> bool:
        """Whether other processes may change tasks without being received here."""
        return self._listener is not None and not self._listener.is_open

    def loops(self) -> list[Loop]:
        """The loops that announce and listen; none where there are no other processes."""
        if self._listener is None:
            return []
        return [
            Loop("announce", self._announce, PROBE_S, self._to_announce),
            Loop("listen", self._keep_listening, PROBE_S, self._to_listen),
        ]

    def start_listening(self) -> None:
        """Listen from now on, since somebody waits."""
        if not self._listens:
            self._listens = True
            self._to_listen.set()

    def announce(self, task_ids: Collection[UUID]) -> None:
        """Gather tasks whose change was committed here, to announce them soon."""
        if len(self._changed) <= MOST_CHANGED:
            self._changed.update(task_ids)
        self._to_announce.set()

    async def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            await self._listener.close()

    async def _announce(self) -> float | None:
        """Announce what was gathered, once: what cannot be sent is found by polling. A loop iteration; raises
        ``Unavailable``."""
        if self._changed:
            await asyncio.sleep(GATHER_S)
            changed, self._changed = self._changed, set()
            payloads = write_payloads(self._process, changed)
            try:
                await self._db.attempt(notify, CHANNEL, payloads)
            except Unavailable:
                # A connection that died while idle is found dead only by using it.
                await self._db.attempt(notify, CHANNEL, payloads)
        return None

    async def _keep_listening(self) -> float | None:
        """Open the listening connection, or check it. A loop iteration; raises ``Unavailable``."""
        if self._listener is None or not self._listens or not self._listener.is_possible:
            return None
        if self._listener.is_open:
            await self._listener.check()
        else:
            await self._listener.open()
            self._on_gap()
        return None

    def _receive(self, payload: str) -> None:
        process, _, text = payload.partition(" ")
        if process == self._process:
            return
        task_ids = read_ids(text)
        if task_ids is None:
            self._on_gap()
        else:
            self._on_changed(task_ids)


def write_payloads(process: str, task_ids: Collection[UUID]) -> list[str]:
    """Encode tasks as payloads of NOTIFY, each within the limit; or one that says "everything"."""
    if len(task_ids) > MOST_CHANGED:
        return [f"{process} {EVERYTHING}"]
    most = (MOST_PAYLOAD_BYTES - len(process) - 1) // _ID_CHARS
    rest = iter(base64url.encode(task_id.bytes) for task_id in task_ids)
    payloads = []
    while batch := list(islice(rest, most)):
        payloads.append(f"{process} {''.join(batch)}")
    return payloads


def read_ids(text: str) -> set[UUID] | None:
    """Decode the tasks of a payload; None for "everything", and for what cannot be read."""
    task_ids: set[UUID] = set()
    for start in range(0, len(text), _ID_CHARS):
        raw = base64url.decode(text[start : start + _ID_CHARS])
        if raw is None or len(raw) != 16:
            return None
        task_ids.add(UUID(bytes=raw))
    return task_ids
