"""The database as stories see it: ``await db.write(fn, …)`` and ``await db.read(fn, …)``, each one transaction.

``fn(conn, …)`` is a synchronous storage function (or a composition of them), so nothing in it can wait for the
network; it may be run again after a deadlock, so it must have no effect but on its connection and its result.
The transaction is committed when the call returns, and rolled back when it raises or is canceled.
"""

import asyncio
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

import msgspec
import sqlalchemy as sa
import structlog

from app.database.faults import sqlstate, unavailable
from app.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger(__name__)

RETRIES: Final = 4
"""Runs of one transaction that PostgreSQL ended as a deadlock's victim or for serialisation."""
TOO_MANY: Final = "the same rows are being changed by too many at once"
_AGAIN: Final = frozenset({"40P01", "40001"})
_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder()


def dumps(value: Any) -> str:
    """JSON for a column; both engines write with this."""
    return _ENCODER.encode(value).decode()


def loads(text: str | bytes) -> Any:
    """JSON from a column."""
    return _DECODER.decode(text)


class Lane(IntEnum):
    """Who uses the database. Each lane has connections of its own; the SQLite writer serves the lower first."""

    CALLBACKS = 0
    API = 1
    LOOPS = 2


class ChannelListener(Protocol):
    """A connection that receives what other processes announce. ``open`` and ``check`` (that it is still good) raise
    ``Unavailable``. Where it is not ``is_possible`` nothing is ever heard."""

    @property
    def is_possible(self) -> bool: ...

    @property
    def is_open(self) -> bool: ...

    async def open(self) -> None: ...

    async def check(self) -> None: ...

    async def close(self) -> None: ...


class Backend(Protocol):
    """One of the two databases. ``run`` runs a function in one transaction and commits it; not ``whole``: each of
    its statements may be a transaction of its own. ``listener`` is None where one process alone serves.
    ``groups_at_once`` and ``entries_at_once``: see ``Database``. ``place``: where it is, for who runs the gateway."""

    place: str
    groups_at_once: int
    entries_at_once: int

    async def run(self, lane: Lane, fn: Callable[[sa.Connection], T], *, write: bool, whole: bool = True) -> T: ...

    def listener(
        self, channel: str, on_payload: Callable[[str], None], on_lost: Callable[[], None]
    ) -> ChannelListener | None: ...

    async def close(self) -> None: ...


class StaleRead(Exception):
    """Raised inside a transaction whose reads are stale: it is rolled back and run again."""


class Database:
    """One lane of a backend."""

    def __init__(self, backend: Backend, lane: Lane = Lane.API) -> None:
        self._backend = backend
        self._lane = lane

    def on(self, lane: Lane) -> "Database":
        """The same database on another lane."""
        return Database(self._backend, lane)

    async def write(self, fn: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``fn`` in one writing transaction; durable when this returns. Raises ``Unavailable`` when the
        database cannot be reached or does not answer in time."""
        for attempt in range(RETRIES):
            try:
                return await self._run(lambda conn: fn(conn, *args, **kwargs), write=True)
            except StaleRead:
                if attempt == RETRIES - 1:
                    raise Unavailable(TOO_MANY) from None
            except sa.exc.DBAPIError as error:
                if sqlstate(error) not in _AGAIN:
                    raise
                if attempt == RETRIES - 1:
                    raise Unavailable(TOO_MANY) from error
            await asyncio.sleep(0.01 * attempt)
        raise AssertionError("the last attempt returns or raises")

    async def attempt(
        self, fn: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """Run ``fn`` once, its statements each in a transaction of its own. None where that did not do: ``fn`` raised
        ``StaleRead``, or the database refused something; of what writes, the caller sees to it that it is all in one
        statement. Raises ``Unavailable`` as ``write`` does."""
        try:
            return await self._run(lambda conn: fn(conn, *args, **kwargs), write=True, whole=False)
        except StaleRead:
            return None
        except sa.exc.DBAPIError as error:
            if sqlstate(error) not in _AGAIN:
                log.warning("database.attempt_refused", sqlstate=sqlstate(error))
            return None

    async def read(self, fn: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``fn`` in one reading transaction. Raises ``Unavailable`` as ``write`` does."""
        return await self._run(lambda conn: fn(conn, *args, **kwargs), write=False)

    @property
    def groups_at_once(self) -> int:
        """How many groups of callbacks are worth having in flight: while PostgreSQL commits one, the next is
        joined; SQLite has one writer, and a second group would only make both smaller."""
        return self._backend.groups_at_once

    @property
    def entries_at_once(self) -> int:
        """How many callbacks to have in all these groups together. While one is joined nothing else is done, refusals
        included; where groups are smaller, less is taken in under overload, on SQLite sooner than on PostgreSQL."""
        return self._backend.entries_at_once

    def listener(
        self, channel: str, on_payload: Callable[[str], None], on_lost: Callable[[], None]
    ) -> ChannelListener | None:
        """Make a listener on a channel, not yet open; None where there are no other processes. ``on_payload`` gets each
        payload, ``on_lost`` is called when the connection ends."""
        return self._backend.listener(channel, on_payload, on_lost)

    async def close(self) -> None:
        """Close the backend, for all its lanes."""
        await self._backend.close()

    async def _run(self, fn: Callable[[sa.Connection], T], *, write: bool, whole: bool = True) -> T:
        try:
            return await self._backend.run(self._lane, fn, write=write, whole=whole)
        except Exception as error:
            away = unavailable(error, self._backend.place)
            if away is None:
                raise
            raise away from error
