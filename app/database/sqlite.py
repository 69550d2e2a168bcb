"""SQLite: one writer that serves callbacks before loops, and a few reading threads.

Several writers would only wait for each other's lock, and a deferred BEGIN that reads and then writes fails on a stale
snapshot, so there is one connection that writes, and it begins IMMEDIATE. What the transactions of callbacks and of
requests do takes less time than giving the interpreter's lock to another thread and back at each of their statements:
they run on the event loop, and only their COMMIT, which waits for the disk, in the writer's thread. Those of loops may
take longer (a step of retention, of compaction) and run in the thread as a whole, as all that reads does.
"""

import asyncio
import itertools
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar, cast

import sqlalchemy as sa
import structlog

from app.database.database import Lane, dumps, loads
from app.database.dialect import sqlite_driver_of
from app.database.sqlite_file import FileState, OpenFiles, place_of
from app.errors import Unavailable

T = TypeVar("T")

log = structlog.get_logger(__name__)

READERS: Final = 3
BUSY_TIMEOUT_MS: Final = 5_000
"""How long to wait for another process (a command beside a running server) to end its transaction."""
MOST_PASSED_OVER: Final = 4
"""How often in a row what has waited longest is passed over for a lower lane. While a group of callbacks is committed
the next request comes, and while that is committed the next group: loops would never have their turn."""
FILES_MAX_AGE_S: Final = 0.1
"""How long ago the files may have been looked at for those who only begin something."""


@dataclass(slots=True)
class _Job:
    """A transaction that is to write, and who waits for its end."""

    fn: Callable[[sa.Connection], Any]
    done: asyncio.Future[Any]
    number: int


class SqliteBackend:
    """Connections to one SQLite file."""

    groups_at_once = 1
    entries_at_once = 64

    def __init__(self, url: sa.URL) -> None:
        self.place = place_of(url)
        self._files = OpenFiles(url)
        self._writer_engine = create_engine(url, self._files, begin="BEGIN IMMEDIATE", pool_size=1, busy_timeout_ms=0)
        self._reader_engine = create_engine(url, self._files, begin="BEGIN", pool_size=READERS)
        self._waiting = {lane: deque[_Job]() for lane in Lane}
        self._order = itertools.count()
        self._passed_over = 0
        self._serving: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sqlite-reader")
        self._closed = False

    async def run(self, lane: Lane, fn: Callable[[sa.Connection], T], *, write: bool, whole: bool = True) -> T:
        """See ``Backend``. ``whole`` makes no difference here: there is one writer. Raises ``Unavailable`` instead of
        reading, or of reporting a commit, once the files that are open are not those at their paths any more."""
        if self._closed:
            raise Unavailable("the database is closed")
        loop = asyncio.get_running_loop()
        if not write:
            if self._files.state(max_age_s=FILES_MAX_AGE_S) is FileState.LOG_GONE:
                await self.run(lane, lambda _conn: None, write=True)
            self._files.require_same(max_age_s=FILES_MAX_AGE_S)
            return await loop.run_in_executor(self._readers, _read, self._reader_engine, fn)
        job = _Job(fn, loop.create_future(), next(self._order))
        self._waiting[lane].append(job)
        if self._serving is None:
            # In no request's context: it serves those that come later, too.
            self._serving = loop.create_task(self._serve(), context=Context())
        return cast(T, await job.done)

    def listener(self, _channel: str, _on_payload: Callable[[str], None], _on_lost: Callable[[], None]) -> None:
        """See ``Backend``: a file belongs to one process."""
        return

    async def close(self) -> None:
        self._closed = True
        if self._serving is not None:
            # Not awaited itself: whoever is canceled while he waits here would cancel the writer.
            await asyncio.wait([self._serving])
        self._thread.shutdown()
        self._readers.shutdown()
        self._writer_engine.dispose()
        self._reader_engine.dispose()

    async def _serve(self) -> None:
        """Run the transactions that wait, one after the other. Whoever is canceled while his is under way does not stop
        it: the next one needs the connection."""
        try:
            while lanes := [lane for lane in Lane if self._waiting[lane]]:
                lane = self._choose(lanes)
                job = self._waiting[lane].popleft()
                if not job.done.cancelled():
                    await self._serve_one(lane, job)
        finally:
            self._serving = None

    def _choose(self, lanes: list[Lane]) -> Lane:
        """Choose whose transaction is next: the lowest lane's, or what waits longest after ``MOST_PASSED_OVER``."""
        longest = min(lanes, key=lambda lane: self._waiting[lane][0].number)
        if longest is lanes[0] or self._passed_over == MOST_PASSED_OVER:
            self._passed_over = 0
            return longest
        self._passed_over += 1
        return lanes[0]

    async def _serve_one(self, lane: Lane, job: _Job) -> None:
        try:
            result = await self._write(lane, job.fn)
        except Exception as error:
            if not job.done.done():
                job.done.set_exception(error)
        else:
            if not job.done.done():
                job.done.set_result(result)

    async def _write(self, lane: Lane, fn: Callable[[sa.Connection], T]) -> T:
        in_thread = partial(asyncio.get_running_loop().run_in_executor, self._thread)
        if self._files.state(max_age_s=FILES_MAX_AGE_S) is FileState.LOG_GONE:
            await in_thread(self._save_log)
        self._files.require_same(max_age_s=FILES_MAX_AGE_S)
        if lane is Lane.LOOPS:
            result = await in_thread(self._write_whole, fn)
        else:
            conn = self._begin_at_once()
            if conn is None:
                conn = await in_thread(self._begin)
            try:
                result = fn(conn)
            except BaseException:
                conn.close()
                raise
            await in_thread(_commit, conn)
        # Not before now is it known that what was committed is where it will be looked for.
        self._files.require_same()
        return result

    def _write_whole(self, fn: Callable[[sa.Connection], T]) -> T:
        with self._begin() as conn:
            result = _call(fn, conn)
            conn.commit()
        return result

    def _begin_at_once(self) -> sa.Connection | None:
        """Begin to write; None where that has to be waited for: another process writes, or no connection is open."""
        if not cast(sa.QueuePool, self._writer_engine.pool).checkedin():
            return None
        conn = self._writer_engine.connect()
        try:
            conn.begin()
        except sqlite3.Error as error:
            conn.close()
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                return None
            raise
        return conn

    def _begin(self) -> sa.Connection:
        """Begin to write, after another process if need be."""
        at_once = self._begin_at_once()
        if at_once is not None:
            return at_once
        conn = self._writer_engine.connect()
        try:
            with busy_timeout(sqlite_driver_of(conn.connection), BUSY_TIMEOUT_MS):
                conn.begin()
        except BaseException:
            conn.close()
            raise
        return conn

    def _save_log(self) -> None:
        """Bring what is in the log that was removed, and is still open, into the file, and begin another log. The new
        one must not be opened before everybody has closed the old one."""
        with self._without_readers():
            engines = (self._writer_engine, self._reader_engine)
            # One that has a connection: a new one would open what is not there.
            open_one = next(engine for engine in engines if cast(sa.QueuePool, engine.pool).checkedin())
            connection = open_one.raw_connection()
            try:
                driver = sqlite_driver_of(connection)
                with busy_timeout(driver, BUSY_TIMEOUT_MS):
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


def _read(engine: sa.Engine, fn: Callable[[sa.Connection], T]) -> T:
    with engine.begin() as conn:
        return _call(fn, conn)


def _call(fn: Callable[[sa.Connection], T], conn: sa.Connection) -> T:
    """Call what runs in a thread."""
    try:
        return fn(conn)
    except StopIteration as error:
        # No future takes it, and whoever waits for the thread would wait for ever.
        raise RuntimeError("a transaction raised StopIteration") from error


def _commit(conn: sa.Connection) -> None:
    """Commit and close: both in the thread, which may be at it still when the event loop ends."""
    with conn:
        conn.commit()


@contextmanager
def busy_timeout(driver: sqlite3.Connection, milliseconds: int) -> Iterator[None]:
    """Let a connection wait so long for the locks of others, in place of its own time."""
    [before_ms] = driver.execute("PRAGMA busy_timeout").fetchone()
    driver.execute(f"PRAGMA busy_timeout = {milliseconds}").close()
    try:
        yield
    finally:
        driver.execute(f"PRAGMA busy_timeout = {before_ms}").close()


def create_engine(
    url: sa.URL, files: OpenFiles, *, begin: str, pool_size: int, busy_timeout_ms: int = BUSY_TIMEOUT_MS
) -> sa.Engine:
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
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000, "cached_statements": 256},
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
            f"busy_timeout = {busy_timeout_ms}",
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
        # By the driver itself: through SQLAlchemy it takes as long as a small transaction besides.
        sqlite_driver_of(connection.connection).execute(begin)

    return engine
