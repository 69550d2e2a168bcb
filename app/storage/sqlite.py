"""SQLite: one writer thread that serves callbacks before loops, and a few reading threads.

A whole transaction is one hop to a thread. Several writers would only wait for each other's lock, and a deferred
BEGIN that reads and then writes fails on a stale snapshot, so writers begin IMMEDIATE.
"""

import asyncio
import fcntl
import itertools
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from app.errors import DatabaseInUse, NoDatabase, Unavailable
from app.storage.database import Lane, dumps, loads

T = TypeVar("T")

READERS: Final = 3
BUSY_TIMEOUT_S: Final = 5.0
"""How long to wait for another process (a command beside a running server) to end its transaction."""


class SqliteBackend:
    """Connections to one SQLite file."""

    groups_at_once = 1
    entries_at_once = 64

    def __init__(self, url: sa.URL) -> None:
        self.place = place_of(url)
        self._writer_engine = create_engine(url, begin="BEGIN IMMEDIATE", pool_size=1)
        self._reader_engine = create_engine(url, begin="BEGIN", pool_size=READERS)
        self._jobs: queue.PriorityQueue[tuple[int, int, Callable[[], None] | None]] = queue.PriorityQueue()
        self._order = itertools.count()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sqlite-reader")
        self._writer: threading.Thread | None = None
        self._closed = False

    async def run(self, lane: Lane, fn: Callable[[sa.Connection], T], *, write: bool, whole: bool = True) -> T:
        """See ``Backend``. There is one writer: what need not be whole is so too."""
        if self._closed:
            raise Unavailable("the database is closed")
        loop = asyncio.get_running_loop()
        if not write:
            return await loop.run_in_executor(self._readers, _transact, self._reader_engine, fn)
        done: asyncio.Future[T] = loop.create_future()
        self._jobs.put((lane, next(self._order), lambda: self._write(fn, loop, done)))
        if self._writer is None:
            self._writer = threading.Thread(target=self._serve, name="sqlite-writer", daemon=True)
            self._writer.start()
        return await done

    def listener(self, _channel: str, _heard: Callable[[str], None], _lost: Callable[[], None]) -> None:
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
            result = _transact(self._writer_engine, fn)
        except BaseException as error:
            fault = error
        try:
            loop.call_soon_threadsafe(_resolve, done, result, fault)
        except RuntimeError:
            return  # the loop has ended; so has whoever waited


def _resolve(done: asyncio.Future[Any], result: Any, fault: BaseException | None) -> None:
    if done.done():
        return
    if fault is None:
        done.set_result(result)
    else:
        done.set_exception(fault)


def place_of(url: sa.URL) -> str:
    """Which file it is, for who runs the gateway."""
    return str(Path(str(url.database)).absolute())


def _transact(engine: sa.Engine, fn: Callable[[sa.Connection], T]) -> T:
    with engine.begin() as conn:
        return fn(conn)


def create_engine(url: sa.URL, *, begin: str, pool_size: int) -> sa.Engine:
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

    @sa.event.listens_for(engine, "begin")
    def begin_transaction(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


class FileLock:
    """An advisory lock beside a SQLite file, released when the process ends, however it ends."""

    def __init__(self, url: sa.URL, suffix: str) -> None:
        self._path = Path(f"{url.database}{suffix}")
        self._file: int | None = None

    def acquire(self, *, wait: bool) -> None:
        """Take the lock. Raises ``DatabaseInUse`` if another process has it and ``wait`` is false."""
        self._file = _open_file(self._path, make=True)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            self.release()
            raise DatabaseInUse(
                f"another serve or worker uses {self._path.name.removesuffix('.lock')!r}; "
                "SQLite takes one process, PostgreSQL any number"
            ) from None

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def find_file(url: sa.URL, *, make: bool = False) -> None:
    """See that the file is there and can be written, before SQLite does, which makes a missing one and does not say
    which one it cannot open. Raises ``NoDatabase``, ``Unavailable``."""
    path = Path(str(url.database))
    if not make and not path.exists():
        raise NoDatabase(
            f"there is no database {path.absolute()} (GATEWAY_DATABASE_URL): 'tempolor-gateway serve' and "
            "'tempolor-gateway migrate' make one, other commands use it"
        )
    os.close(_open_file(path, make=make))


def _open_file(path: Path, *, make: bool) -> int:
    try:
        # What callers sent is nobody else's to read.
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0), 0o600)
    except OSError as error:
        raise Unavailable(f"{path.absolute()} (GATEWAY_DATABASE_URL) cannot be opened: {error.strerror}") from None
