"""One PostgreSQL database for all tests of a worker, emptied between them over a connection that is kept."""

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, TypeVar

import asyncpg

T = TypeVar("T")

_EMPTY: Final = """
DO $$
DECLARE
    one text;
    is_filled boolean;
    filled text[] := '{}';
BEGIN
    -- Whoever is still connected belongs to a test that has ended, and may hold locks.
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend';
    FOR one IN SELECT tablename FROM pg_tables
        WHERE schemaname = 'public' AND tablename NOT IN ('alembic_version', 'limits')
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', one) INTO is_filled;
        IF is_filled THEN
            filled := filled || format('%I', one);
        END IF;
    END LOOP;
    -- As superuser: the audit's own triggers let nobody delete.
    SET LOCAL session_replication_role = replica;
    IF filled <> '{}' THEN
        EXECUTE 'TRUNCATE ' || array_to_string(filled, ', ') || ' RESTART IDENTITY CASCADE';
    END IF;
    -- The rows that a migration makes are as it made them.
    DELETE FROM limits;
    INSERT INTO limits (name, state) VALUES ('query', '{}'), ('submit', '{}');
END $$
"""


class KeptConnection:
    """A superuser's connection to one database, on a loop and a thread of its own: usable with and without a loop."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kept-connection", daemon=True)
        self._thread.start()
        self._url = url
        self._connection: Any = self._done(asyncpg.connect(url))
        self._version: Any = self._done(self._connection.fetchval("SELECT version_num FROM alembic_version"))

    def empty(self) -> None:
        """Take away every row but those that the migrations make."""
        self.execute(_EMPTY)
        # A test that says the schema were another one is not to be heard by those that follow.
        self.execute(f"UPDATE alembic_version SET version_num = '{self._version}'")

    def execute(self, sql: str) -> None:
        """Run one statement, committed; on a new connection where a test has ended the kept one."""
        if self._connection.is_closed():
            self._connection = self._done(asyncpg.connect(self._url))
        self._done(self._connection.execute(sql))

    def close(self) -> None:
        self._done(self._connection.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> "KeptConnection":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _done(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)
