"""PostgreSQL through asyncpg: one small pool for each lane, so that none can starve another of connections.

A connection of one's own has its settings from its beginning, and keeps its statements prepared. Behind a pooler
neither holds: it takes hardly any settings, and gives each transaction another connection of the server's. There the
settings are said with each BEGIN, nothing is prepared for longer than its transaction, and nobody listens.
"""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn

from app.database.database import Lane, dumps, loads
from app.database.listen import CLOSE_TIMEOUT_S, Listener
from app.database.postgres_url import APPLICATION_NAME, CONNECT_TIMEOUT_S, Target, read_url
from app.errors import UnsuitableDatabase

T = TypeVar("T")

POOL_SIZES: Final = {Lane.CALLBACKS: 3, Lane.API: 8, Lane.LOOPS: 7}
COMMAND_TIMEOUT_S: Final = 6.0
"""Just above the server's own time-outs: a server that died without a word ends no statement by itself."""
OLDEST_VERSION: Final = 12
"""The first with ``plan_cache_mode``."""
_CALLBACK_SETTINGS: Final = {
    # Their statements get sets, of which a plan can tell nothing; there are many of them, by what a group has to
    # write, and each would be planned five times anew on each connection, which takes longer than to carry it out.
    "plan_cache_mode": "force_generic_plan",
}
_ISOLATION: Final = "read committed"
"""Whatever the server's default is: what is counted after a lock was waited for must be counted as it is then."""
_SETTINGS: Final = {
    # Bytes are read in JSON too, where they are text.
    "bytea_output": "hex",
    # Our statements are short; compiling them costs more than it saves.
    "jit": "off",
    # Every statement is served by an index, joined row by row. A plan that was made while a table was small or had
    # no statistics, and is kept with the prepared statement, would scan it for as long as the connection lives.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # Times are read in JSON as well, where they are in the zone of the session.
    "timezone": "UTC",
    "lock_timeout": "5s",
    "statement_timeout": "5s",
    "idle_in_transaction_session_timeout": "5s",
}


class PostgresBackend:
    """Connections to one PostgreSQL."""

    groups_at_once = 2
    entries_at_once = 48

    def __init__(self, url: sa.URL) -> None:
        self._target = read_url(url)
        self.place = self._target.place
        self._pooled: bool | None = None
        """Whether a pooler stands between; not known before the first connection."""
        self._engines: dict[Lane, AsyncEngine] = {}
        self._kept: dict[Lane, list[sa.Connection]] = defaultdict(list)
        """Connections that are kept from one ``run`` without a transaction to the next."""
        self._autocommitting_engines: dict[Lane, sa.Engine] = {}

    async def run(self, lane: Lane, fn: Callable[[sa.Connection], T], *, write: bool, whole: bool = True) -> T:
        """See ``Backend``. A reading transaction is one of the same kind: a snapshot for each statement. Behind a
        pooler each is whole, since settings are a transaction's there."""
        if self._pooled is None:
            self._pooled = await look_at(self._target)
        if whole or self._pooled:
            return await greenlet_spawn(_transact, self._engine(lane), fn)
        return await greenlet_spawn(self._autocommit, lane, fn)

    def _autocommit(self, lane: Lane, fn: Callable[[sa.Connection], T]) -> T:
        """Run each statement as a transaction of its own, on a connection that is kept: to take it from the pool,
        switch it over, back, and return it takes longer than a small statement. It goes back if ``fn`` raised, since
        the caller may need it for a whole transaction; and if it is lost, all that are kept may be."""
        kept = self._kept[lane]
        conn = kept.pop() if kept else self._autocommitting_engine(lane).connect()
        try:
            result = fn(conn)
        except BaseException:
            if conn.invalidated:
                _drop(kept)
            conn.close()
            raise
        kept.append(conn)
        return result

    def listener(self, channel: str, on_payload: Callable[[str], None], on_lost: Callable[[], None]) -> Listener:
        """See ``Backend``. The connection is named for people who look at the server's list."""
        named = self._target.arguments["server_settings"] | {"application_name": f"{APPLICATION_NAME} listener"}
        arguments = self._target.arguments | {"server_settings": named, "command_timeout": COMMAND_TIMEOUT_S}
        return Listener(arguments, channel, on_payload, on_lost, lambda: not self._pooled)

    async def close(self) -> None:
        for kept in self._kept.values():
            while kept:
                await greenlet_spawn(kept.pop().close)
        for engine in self._engines.values():
            await engine.dispose()

    def _autocommitting_engine(self, lane: Lane) -> sa.Engine:
        """The same connections, without a transaction around the statements."""
        engine = self._autocommitting_engines.get(lane)
        if engine is None:
            engine = self._engine(lane).execution_options(isolation_level="AUTOCOMMIT")
            self._autocommitting_engines[lane] = engine
        return engine

    def _engine(self, lane: Lane) -> sa.Engine:
        engine = self._engines.get(lane)
        if engine is None:
            engine = self._engines[lane] = create_engine(
                self._target,
                _SETTINGS | (_CALLBACK_SETTINGS if lane is Lane.CALLBACKS else {}),
                pooled=bool(self._pooled),
                command_timeout=COMMAND_TIMEOUT_S,
                pool_size=POOL_SIZES[lane],
                max_overflow=0,
                pool_timeout=CONNECT_TIMEOUT_S,
                # A connection that the server closed meanwhile is noticed before it is used. One that is kept
                # outside the pool is not, but whoever uses one repeats what failed on it.
                pool_pre_ping=True,
            )
        return engine.sync_engine


def _transact(engine: sa.Engine, fn: Callable[[sa.Connection], T]) -> T:
    """Run a whole transaction in one greenlet. SQLAlchemy's asynchronous connection would enter one for the connection,
    the beginning, the function, the commit and the return to the pool each: a third of a small transaction."""
    with engine.begin() as conn:
        return fn(conn)


def _drop(kept: list[sa.Connection]) -> None:
    """Drop connections that are probably lost, without a word to the server, which may not answer."""
    while kept:
        conn = kept.pop()
        cast("asyncpg.Connection[asyncpg.Record]", conn.connection.driver_connection).terminate()
        conn.invalidate()
        conn.close()


async def look_at(target: Target) -> bool:
    """Find out whether a pooler answers in the server's place: it gives its clients keys of its own to cancel by, so
    that the process that a connection names is not the one that carries out its statements. Raises
    ``UnsuitableDatabase``."""
    conn = await asyncpg.connect(**target.arguments, command_timeout=COMMAND_TIMEOUT_S, statement_cache_size=0)
    try:
        check_suitable(conn.get_server_version().major, conn.get_settings().server_encoding)
        return bool(await conn.fetchval("SELECT pg_backend_pid()") != conn.get_server_pid())
    finally:
        # What was to be known is known: whoever does not confirm the end in time is left without it.
        with contextlib.suppress(TimeoutError, OSError):
            await conn.close(timeout=CLOSE_TIMEOUT_S)


def check_suitable(version: int, encoding: str) -> None:
    """Check the server's major version and the database's encoding. Raises ``UnsuitableDatabase``."""
    if version < OLDEST_VERSION:
        raise UnsuitableDatabase(f"PostgreSQL {version} is too old: the gateway needs {OLDEST_VERSION} or newer")
    if encoding != "UTF8":
        # With SQL_ASCII any text can be stored, but is counted in bytes where its length is limited.
        raise UnsuitableDatabase(
            f"the database has the encoding {encoding} (server_encoding), which cannot hold every text: GATEWAY_"
            "DATABASE_URL must name one that was made with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


def create_engine(
    target: Target,
    session: Mapping[str, str],
    transaction: Mapping[str, str] | None = None,
    *,
    pooled: bool,
    command_timeout: float | None,
    **options: Any,
) -> AsyncEngine:
    """Make an engine with our JSON. ``session``: the settings of a connection. ``transaction``: those of each
    transaction, which behind a pooler all are."""
    arguments = target.arguments | {"command_timeout": command_timeout}
    session, transaction = {**session, **target.settings}, transaction or {}
    if pooled:
        # No statement has a name: the next one may come to a connection where it is another's, or nobody's.
        arguments |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
        transaction = {**session, **transaction}
    else:
        isolation = {"default_transaction_isolation": _ISOLATION}
        arguments["server_settings"] = target.arguments["server_settings"] | isolation | session
    if transaction:
        arguments["connection_class"] = _setting_with_each_transaction(transaction)
    return create_async_engine(
        "postgresql+asyncpg://",
        connect_args=arguments,
        hide_parameters=True,
        json_serializer=dumps,
        json_deserializer=loads,
        **options,
    )


def _setting_with_each_transaction(settings: Mapping[str, str]) -> "type[asyncpg.Connection[asyncpg.Record]]":
    """A connection of the driver's that says settings in the same message as each BEGIN, for that transaction."""
    set_configs = ", ".join(f"set_config({_quoted(name)}, {_quoted(value)}, true)" for name, value in settings.items())

    class Connection(asyncpg.Connection):
        __slots__ = ()

        async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
            if query == "BEGIN;":
                query = f"BEGIN ISOLATION LEVEL {_ISOLATION}; SELECT {set_configs}"
            return await super().execute(query, *args, timeout=timeout)

    return Connection


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
