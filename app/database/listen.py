"""PostgreSQL's LISTEN and NOTIFY: what one process announces reaches the others at once.

Only a hint: what is announced while nobody listens is gone, so listeners also look at the tables.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import asyncpg
import sqlalchemy as sa

from app.database import dialect
from app.database.faults import why_away
from app.errors import Unavailable

MOST_PAYLOAD_BYTES: Final = 7900
"""PostgreSQL refuses payloads of 8000."""
CLOSE_TIMEOUT_S: Final = 2.0
_NOTIFY: Final = "SELECT pg_notify($1, each) FROM unnest($2::text[]) AS each"


def notify(conn: sa.Connection, channel: str, payloads: Sequence[str]) -> None:
    """Send notifications when the caller's transaction commits, or at once where there is none. In a transaction of
    its own: at its commit a notifying one waits for all others that notify."""
    dialect.fetch_on_postgresql(conn, _NOTIFY, (channel, list(payloads)))


class Listener:
    """One connection outside the pools. ``on_payload(payload)`` and ``on_lost()`` are called on the event loop.
    ``is_possible``: whether anything can be received: a pooler does not pass on what is announced."""

    def __init__(
        self,
        arguments: dict[str, Any],
        channel: str,
        on_payload: Callable[[str], None],
        on_lost: Callable[[], None],
        is_possible: Callable[[], bool],
    ) -> None:
        self._arguments = arguments
        self._channel = channel
        self._on_payload = on_payload
        self._on_lost = on_lost
        self._is_possible = is_possible
        self._conn: asyncpg.Connection[asyncpg.Record] | None = None

    @property
    def is_open(self) -> bool:
        return self._conn is not None and not self._conn.is_closed()

    @property
    def is_possible(self) -> bool:
        return self._is_possible()

    async def open(self) -> None:
        """Connect and listen. What is announced from now on is heard. Raises ``Unavailable``."""
        await self.close()
        try:
            conn: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(**self._arguments)
            self._conn = conn
            conn.add_termination_listener(self._ended)
            await conn.add_listener(self._channel, self._receive)
        except Exception as error:
            await self.close()
            raise _unavailable(error) from error

    async def check(self) -> None:
        """Ask the server something: a connection whose other end is gone looks open. Raises ``Unavailable``."""
        if self._conn is None:
            raise Unavailable("nobody listens")
        try:
            await self._conn.execute("SELECT 1")
        except Exception as error:
            await self.close()
            raise _unavailable(error) from error

    async def close(self) -> None:
        conn, self._conn = self._conn, None
        if conn is None or conn.is_closed():
            return
        try:
            await conn.close(timeout=CLOSE_TIMEOUT_S)
        except Exception:
            conn.terminate()

    def _receive(self, _conn: object, _pid: int, _channel: str, payload: object) -> None:
        self._on_payload(str(payload))

    def _ended(self, conn: object) -> None:
        if conn is self._conn:
            self._on_lost()


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable(f"changes are not heard: {why_away(error) or type(error).__name__}")
