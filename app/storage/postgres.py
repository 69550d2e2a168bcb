"""PostgreSQL through asyncpg: one small pool for each lane, so that none can starve another of connections."""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn

from app.errors import InvalidRequest
from app.storage.database import Lane, dumps, loads
from app.storage.listen import Listener

T = TypeVar("T")

POOL_SIZES: Final = {Lane.CALLBACKS: 3, Lane.API: 8, Lane.LOOPS: 7}
CONNECT_TIMEOUT_S: Final = 5.0
COMMAND_TIMEOUT_S: Final = 6.0
"""Just above the server's own time-outs: a server that died without a word ends no statement by itself."""
_CALLBACK_SETTINGS: Final = {
    # Their statements get sets, of which a plan can tell nothing; there are many of them, by what a group has to
    # write, and each would be planned five times anew on each connection, which takes longer than to carry it out.
    "plan_cache_mode": "force_generic_plan",
}
_SERVER_SETTINGS: Final = {
    "application_name": "tempolor-gateway",
    # Bytes are read in JSON too, where they are text.
    "bytea_output": "hex",
    # Our statements are short; compiling them costs more than it saves.
    "jit": "off",
    # Every statement is served by an index, joined row by row. A plan that was made while a table was small or had
    # no statistics, and is kept with the prepared statement, would scan it for as long as the connection lives.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "lock_timeout": "5s",
    "statement_timeout": "5s",
    "idle_in_transaction_session_timeout": "5s",
}


class PostgresBackend:
    """Connections to one PostgreSQL."""

    groups_at_once = 2
    entries_at_once = 48

    def __init__(self, url: sa.URL) -> None:
        self._url, self._connect_args = driver_arguments(url)
        self._engines: dict[Lane, AsyncEngine] = {}
        self._kept: dict[Lane, list[sa.Connection]] = defaultdict(list)
        """Connections that are kept from one ``run`` without a transaction to the next."""
        self._autocommitting_engines: dict[Lane, sa.Engine] = {}

    async def run(self, lane: Lane, fn: Callable[[sa.Connection], T], *, write: bool, whole: bool = True) -> T:
        """See ``Backend``. A reading transaction is one of the same kind: a snapshot for each statement."""
        if whole:
            return await greenlet_spawn(_transact, self._engine(lane), fn)
        return await greenlet_spawn(self._autocommit, lane, fn)

    def _autocommit(self, lane: Lane, fn: Callable[[sa.Connection], T]) -> T:
        """Each statement a transaction of its own, on a connection that is kept: to take it from the pool, switch it
        over, back, and return it takes longer than a small statement. It goes back if ``fn`` raised, since the caller
        may need it for a whole transaction; and if it is lost, all that are kept may be."""
        kept = self._kept[lane]
        conn = kept.pop() if kept else self._autocommitting_engine(lane).connect()
        try:
            found = fn(conn)
        except BaseException:
            if conn.invalidated:
                _drop(kept)
            conn.close()
            raise
        kept.append(conn)
        return found

    def listener(self, channel: str, heard: Callable[[str], None], lost: Callable[[], None]) -> Listener:
        """See ``Backend``. The connection is named for people who look at the server's list."""
        arguments = self._url.translate_connect_args(username="user") | self._connect_args
        settings = arguments["server_settings"]
        named = {"application_name": f"{settings['application_name']} listener"}
        return Listener(arguments | {"server_settings": settings | named}, channel, heard, lost)

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
            arguments = self._connect_args
            if lane is Lane.CALLBACKS:
                arguments = arguments | {"server_settings": arguments["server_settings"] | _CALLBACK_SETTINGS}
            engine = self._engines[lane] = create_engine(
                self._url,
                arguments,
                pool_size=POOL_SIZES[lane],
                max_overflow=0,
                pool_timeout=CONNECT_TIMEOUT_S,
                # A connection that the server closed meanwhile is noticed before it is used. One that is kept
                # outside the pool is not, but whoever uses one repeats what failed on it.
                pool_pre_ping=True,
            )
        return engine.sync_engine


def _transact(engine: sa.Engine, fn: Callable[[sa.Connection], T]) -> T:
    """A whole transaction in one greenlet. SQLAlchemy's asynchronous connection would enter one for the connection,
    the beginning, the function, the commit and the return to the pool each: a third of a small transaction."""
    with engine.begin() as conn:
        return fn(conn)


def _drop(kept: list[sa.Connection]) -> None:
    """Give up connections that are probably lost, without a word to the server, which may not answer."""
    while kept:
        conn = kept.pop()
        cast("asyncpg.Connection[asyncpg.Record]", conn.connection.driver_connection).terminate()
        conn.invalidate()
        conn.close()


def create_engine(url: sa.URL, connect_args: dict[str, Any], **options: Any) -> AsyncEngine:
    """An engine with our JSON and our driver arguments."""
    return create_async_engine(
        url, connect_args=connect_args, hide_parameters=True, json_serializer=dumps, json_deserializer=loads, **options
    )


def driver_arguments(url: sa.URL) -> tuple[sa.URL, dict[str, Any]]:
    """Take libpq's query parameters out of the URL and say them in the driver's words. Raises ``InvalidRequest``."""
    query = {name: value if isinstance(value, str) else value[0] for name, value in url.query.items()}
    settings = dict(_SERVER_SETTINGS)
    arguments: dict[str, Any] = {
        "timeout": CONNECT_TIMEOUT_S,
        "command_timeout": COMMAND_TIMEOUT_S,
        "server_settings": settings,
    }
    if url.port is not None:
        _port(str(url.port))
    for name, value in query.items():
        match name:
            case "host" | "user" | "password":
                arguments[name] = value
            case "port":
                arguments[name] = _port(value)
            case "dbname" | "database":
                arguments["database"] = value
            case "sslmode" | "ssl":
                arguments["ssl"] = value
            case "application_name" | "search_path":
                settings[name] = value
            case "connect_timeout":
                arguments["timeout"] = _connect_timeout(value)
            case _:
                raise InvalidRequest(f"the parameter {name!r} of the database URL is not supported")
    return url.set(query={}), arguments


def _port(value: str) -> int:
    if not (value.isascii() and value.isdecimal() and 0 < int(value) < 65536):
        raise InvalidRequest("the port of the database URL must be a number from 1 to 65535")
    return int(value)


def _connect_timeout(value: str) -> float | None:
    """Seconds; None for no limit, which is 0 in libpq's words."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < math.inf:
        raise InvalidRequest("the parameter 'connect_timeout' of the database URL must be seconds, or 0 for no limit")
    return seconds or None
