"""SQLite: one writer thread that serves callbacks before loops, and a few reading threads.

A whole transaction is one hop to a thread. Several writers would only wait for each other's lock, and a deferred
BEGIN that reads and then writes fails on a stale snapshot, so writers begin IMMEDIATE.
"""

import asyncio
import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, TypeVar, cast

import sqlalchemy as sa
import structlog

from app.database.database import Lane, dumps, loads
from app.database.sqlite_file import FRESH_S, OpenFiles, State, place_of
from app.errors import Unavailable

T = TypeVar("T")

log = structlog.get_logger(__name__)

READERS: Final = 3
BUSY_TIMEOUT_S: Final = 5.0
"""How long to wait for another process (a command beside a running server) to end its transaction."""


class SqliteBackend:
    """Connections to one SQLite file."""

    groups_at_once = 1
    entries_at_once = 64

    def __init__(self, url: sa.URL) -> None:
        self.place = place_of(url)
        self._files = OpenFiles(url)
        self._writer_engine = create_engine(url, self._files, begin="BEGIN IMMEDIATE", pool_size=1)
        self._reader_engine = create_engine(url, self._files, begin="BEGIN", pool_size=READERS)
        self._jobs: queue.PriorityQueue[tuple[int, int, Callable[[], None] | None]] = queue.PriorityQueue()
        self._order = itertools.count()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sqlite-reader")
        self._writer: threading.Thread | None = None
        self._closed = False

    async def run(self, lane: Lane, fn: Callable[[sa.Connection], T], *, write: bool, whole: bool = True) -> T:
        """See ``Backend``. There is one writer: what need not be whole is so too. Nothing is read from files that are
        not those at their paths any more, and nothing that was written to them is taken for durable."""
        if self._closed:
            raise Unavailable("the database is closed")
        loop = asyncio.get_running_loop()
        if not write:
            if self._files.state(fresh_s=FRESH_S) is State.LOG_GONE:
                await self.run(lane, lambda _conn: None, write=True)
            self._files.require_same(fresh_s=FRESH_S)
            return await loop.run_in_executor(self._readers, _transact, self._reader_engine, fn)
        done: asyncio.Future[T] = loop.create_future()
        self._jobs.put((lane, next(self._order), lambda: self._write(fn, loop, done)))
        if self._writer is None:
            self._writer = threading.Thread(target=self._serve, name="sqlite-writer", daemon=True)
            self._writer.start()
        return await done

    def listener(self, _channel: str, _on_payload: Callable[[str], None], _on_lost: Callable[[], None]) -> None:
        """See ``Backend``: a file belongs to one process."""
        return

    async def close(self) -> None:
        self._closed = True
        if self._writer is not None:
            self._jobs.put((len(Lane), next(self._order), None))
            await asyncio.to_thread(self._writer.join)
        self._readers.shutdown()
        self._writer_engine.dispose()
        self._reader_engine.dispose()

    def _serve(self) -> None:
        while (job := self._jobs.get()[2]) is not None:
            job()

    def _write(
        self, fn: Callable[[sa.Connection], T], loop: asyncio.AbstractEventLoop, done: asyncio.Future[T]
    ) -> None:
        if done.cancelled():
            return
        result: Any = None
        fault: BaseException | None = None
        try:
            if self._files.state(fresh_s=FRESH_S) is State.LOG_GONE:
                self._save_log()
            self._files.require_same(fresh_s=FRESH_S)
            result = _transact(self._writer_engine, fn)
            # Not before now is it known that what was committed is where it will be looked for.
            self._files.require_same()
        except BaseException as error:
            fault = error
        try:
            loop.call_soon_threadsafe(_resolve, done, result, fault)
        except RuntimeError:
            return  # the loop has ended; so has whoever waited

    def _save_log(self) -> None:
        """Bring what is in the log that was removed, and is still open, into the file, and begin another log. The new
        one must not be opened before everybody has closed the old one."""
        with self._without_readers():
            engines = (self._writer_engine, self._reader_engine)
            # One that has a connection: a new one would open what is not there.
            open_one = next(engine for engine in engines if cast(sa.QueuePool, engine.pool).checkedin())
            connection = open_one.raw_connection()
            try:
                driver: Any = connection.driver_connection
                [busy, _, _] = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                connection.close()
            if busy:
                raise Unavailable("the database is not available: its log was removed, and is still used by another")
            for engine in engines:
                engine.dispose()
            self._files.forget()
        log.warning("database.log_saved", file=self.place)

    @contextmanager
    def _without_readers(self) -> Iterator[None]:
        """Wait until nobody reads, and let nobody begin."""
        all_idle, done = threading.Barrier(READERS + 1), threading.Event()

        def hold() -> None:
            all_idle.wait()
            done.wait()

        for _ in range(READERS):
            self._readers.submit(hold)
        all_idle.wait()
        try:
            yield
        finally:
            done.set()


def _resolve(done: asyncio.Future[Any], result: Any, fault: BaseException | None) -> None:
    if done.done():
        return
    if fault is None:
        done.set_result(result)
    else:
        done.set_exception(fault)


def _transact(engine: sa.Engine, fn: Callable[[sa.Connection], T]) -> T:
    with engine.begin() as conn:
        return fn(conn)


def create_engine(url: sa.URL, files: OpenFiles, *, begin: str, pool_size: int) -> sa.Engine:
    """An engine whose transactions begin with ``begin``; WAL, durable at each commit."""
    engine = sa.create_engine(
        url,
        # An error's text goes to the log, its statement's parameters (bodies, keys) must not.
        hide_parameters=True,
        json_serializer=dumps,
        json_deserializer=loads,
        poolclass=sa.QueuePool,
        pool_size=pool_size,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S, "cached_statements": 256},
    )

    @sa.event.listens_for(engine, "do_connect")
    def look(*_given: Any) -> None:
        files.before_opening()

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        # The driver's own idea of when a transaction begins is switched off; ``begin`` below says it.
        connection.isolation_level = None
        for pragma in (
            "auto_vacuum = INCREMENTAL",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            f"busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}",
        ):
            connection.execute(f"PRAGMA {pragma}").close()
        # The log is opened by the first who reads.
        connection.execute("SELECT 1 FROM sqlite_master").close()
        try:
            files.note()
        except Unavailable:
            connection.close()
            raise

    @sa.event.listens_for(engine, "begin")
    def begin_transaction(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
