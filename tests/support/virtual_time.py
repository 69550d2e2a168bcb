"""An event loop whose clock jumps: when nothing is ready, it is at once the time of the next timer.

So a test waits for nothing, and what it asserts of a duration is exact but for microseconds. ``asyncio.sleep``,
``asyncio.timeout`` and ``call_later`` follow the loop's clock by themselves. Servers and connections to them are kept
inside the loop (``memory_network``), so that "nothing is ready" means that nothing will be.

Time stands still while real work is under way, since its end is not on our clock: calls to threads, and what is done
under ``real_work`` (a database). What SQLite's own threads would do is done in the loop, as a turn of its own.
"""

import asyncio
import contextlib
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import Any, Final, TypeVar, TypeVarTuple

import sqlalchemy as sa

from app.database.connect import open_backend
from app.database.database import Backend, ChannelListener, Database, Lane
from app.runtime.clock import Clock
from tests.support.memory_network import Factory, MemoryServer

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_REAL_S: Final = 20.0
"""How long the loop blocks at once where something real is under way."""


_TURN_S: Final = 1e-6
"""What a turn of the loop takes: of two things that are done one after the other, the second is the later one."""


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for real events only where they can be expected; else the loop's clock is moved on."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if found or (timeout is not None and timeout <= 0):
            self.loop.elapsed += _TURN_S
            return found
        if self.loop.working or timeout is None:
            found = super().select(_REAL_S)
            if not found and not self.loop.working:
                raise RuntimeError("no timer is set and nothing is under way: the test would wait for ever")
            return found
        self.loop.elapsed += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """``elapsed``: seconds that have passed on its clock. ``working``: how much real work is under way. ``commits``:
    how many transactions that may write have ended."""

    def __init__(self) -> None:
        # As after some days of a machine: what has not been yet is long ago.
        self.elapsed = 1_000_000.0
        self._booted_at = time.time() - self.elapsed
        self.working = 0
        self.commits = 0
        self._committed = asyncio.Event()
        selector = _JumpingSelector()
        selector.loop = self
        self._servers: list[MemoryServer] = []
        self._client_port = 40_000
        super().__init__(selector)

    def time(self) -> float:
        return self.elapsed

    def epoch_s(self) -> float:
        """The time of day, as ``time.time`` gives it."""
        return self._booted_at + self.elapsed

    @contextlib.contextmanager
    def real_work(self) -> Iterator[None]:
        """Time stands still within."""
        self.working += 1
        try:
            yield
        finally:
            self.working -= 1

    def note_commit(self) -> None:
        """What is stored may have changed."""
        self.commits += 1
        self._committed.set()

    async def until_commit_after(self, commits: int, at_most_s: float) -> None:
        """Wait for a commit later than ``commits``, at most so long."""
        self._committed.clear()
        if self.commits == commits:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(at_most_s):
                    await self._committed.wait()

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Arguments], T], *args: *Arguments
    ) -> asyncio.Future[T]:
        if getattr(executor, "_thread_name_prefix", "").startswith("sqlite-"):
            # On SQLite a gateway has four threads; to start them takes longer than what many a story does in them.
            done: asyncio.Future[T] = self.create_future()
            self.call_soon(_run, done, func, args)
            return done
        future = super().run_in_executor(executor, func, *args)
        self.working += 1
        future.add_done_callback(self._has_ended)
        return future

    def _has_ended(self, _future: Any) -> None:
        self.working -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the end of the threads, which comes in real time: the limit that newer Pythons set would pass at
        once."""
        await super().shutdown_default_executor()

    async def create_server(  # type: ignore[override]
        self, protocol_factory: Factory, host: Any = None, port: int = 0, *, sock: Any = None, **options: Any
    ) -> Any:
        if options.get("ssl") is not None:
            return await super().create_server(protocol_factory, host, port, sock=sock, **options)
        server = MemoryServer(self, protocol_factory, [sock if sock is not None else _reserved(host, port)])
        self._servers.append(server)
        return server

    async def create_connection(
        self, protocol_factory: Factory, host: Any = None, port: Any = None, **options: Any
    ) -> Any:
        server = self._server_at(port) if options.get("ssl") is None else None
        if server is None:
            with self.real_work():
                return await super().create_connection(protocol_factory, host, port, **options)
        self._client_port += 1
        return server.connect(protocol_factory, host, port, self._client_port)

    def _server_at(self, port: Any) -> MemoryServer | None:
        self._servers = [server for server in self._servers if server.serving]
        return next((server for server in self._servers if port in server.ports), None)


def _run(done: asyncio.Future[T], func: Callable[..., T], args: tuple[Any, ...]) -> None:
    """Call a function as an executor would."""
    if done.cancelled():
        return
    try:
        result = func(*args)
    except BaseException as error:
        done.set_exception(error)
    else:
        done.set_result(result)


def _reserved(host: Any, port: int) -> socket.socket:
    """A bound socket, which nobody can connect to."""
    reserved = socket.socket()
    reserved.bind((host or "127.0.0.1", port))
    return reserved


def virtual_loop() -> VirtualLoop | None:
    """The running loop, if its time is virtual."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    return loop if isinstance(loop, VirtualLoop) else None


def real_work() -> contextlib.AbstractContextManager[None]:
    """Time stands still within, if it is virtual: around what the test itself does outside of its loop."""
    loop = virtual_loop()
    return loop.real_work() if loop else contextlib.nullcontext()


def now_s() -> float:
    """The time of day on the running loop's clock, as ``time.time`` gives it."""
    loop = virtual_loop()
    return loop.epoch_s() if loop else time.time()


def utc_now() -> datetime:
    """The time of day on the running loop's clock."""
    return datetime.fromtimestamp(now_s(), UTC)


def monotonic() -> float:
    """Seconds on the running loop's clock."""
    loop = virtual_loop()
    return loop.time() if loop else time.monotonic()


class VirtualClock(Clock):
    """The loop's clock as the gateway's. ``skip`` makes the clock on the wall jump."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._skipped_s = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._loop.epoch_s() + self._skipped_s, UTC)

    def monotonic(self) -> float:
        return self._loop.elapsed

    def skip(self, seconds: float) -> None:
        """Move the clock on the wall, forward or back."""
        self._skipped_s += seconds


class StillBackend:
    """A database under whose transactions time stands still: how long they take is not on the test's clock."""

    def __init__(self, backend: Backend, loop: VirtualLoop) -> None:
        self._backend = backend
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    async def run(self, lane: Lane, fn: Callable[[sa.Connection], T], *, write: bool, whole: bool = True) -> T:
        with self._loop.real_work():
            found = await self._backend.run(lane, fn, write=write, whole=whole)
        if write:
            self._loop.note_commit()
        return found

    def listener(
        self, channel: str, on_payload: Callable[[str], None], on_lost: Callable[[], None]
    ) -> ChannelListener | None:
        hearing = self._backend.listener(channel, on_payload, on_lost)
        return None if hearing is None else _StillHearing(hearing, self._loop)

    async def close(self) -> None:
        with self._loop.real_work():
            await self._backend.close()


class _StillHearing:
    def __init__(self, hearing: ChannelListener, loop: VirtualLoop) -> None:
        self._hearing = hearing
        self._loop = loop

    @property
    def is_possible(self) -> bool:
        return self._hearing.is_possible

    @property
    def is_open(self) -> bool:
        return self._hearing.is_open

    async def open(self) -> None:
        with self._loop.real_work():
            await self._hearing.open()

    async def check(self) -> None:
        with self._loop.real_work():
            await self._hearing.check()

    async def close(self) -> None:
        with self._loop.real_work():
            await self._hearing.close()


def still_database(url: str, loop: VirtualLoop) -> Database:
    """The database of a URL, opened for a loop of virtual time."""
    return Database(StillBackend(open_backend(url), loop))
