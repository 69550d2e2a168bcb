"""An event loop in a thread of its own, for callers that have none."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Coroutine, Generator
from concurrent.futures import CancelledError
from typing import Any, Final, Protocol, TypeVar

Result = TypeVar("Result")
Element_co = TypeVar("Element_co", covariant=True)
_END: Final = object()


class Closing(Protocol[Element_co]):
    """An asynchronous iterator that holds something until it is closed."""

    def __aiter__(self) -> "AsyncIterator[Element_co]": ...

    def __anext__(self) -> Awaitable[Element_co]: ...

    def aclose(self) -> Coroutine[Any, Any, None]: ...


class LoopThread:
    """Runs coroutines for other threads, until it is stopped. An unfinished one does not hold up the end of the
    program."""

    def __init__(self) -> None:
        # Reentrant: an iterator may be collected, and so closed, at any moment.
        self._lock = threading.RLock()
        self._stopped = False
        self._last: Coroutine[Any, Any, None] | None = None
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="tempolor-gateway-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of a coroutine; it is cancelled if the caller is interrupted. Raises what it raises, and
        ``RuntimeError`` once the thread was stopped."""
        with self._lock:
            if self._stopped:
                work.close()
                raise RuntimeError("the client is closed")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise RuntimeError("the client was closed meanwhile") from None
        except BaseException:
            future.cancel()
            raise

    def iterate(self, found: Closing[Result]) -> Generator[Result, None, None]:
        """What an asynchronous iterator yields; it is closed when this one is."""
        try:
            while (one := self.run(_next(found))) is not _END:
                yield one
        finally:
            self._discard(found)

    def stop(self, last: Coroutine[Any, Any, None]) -> None:
        """Do one last thing, cancel what still runs, and end the thread. A second call does nothing."""
        with self._lock:
            if self._stopped:
                last.close()
                return
            self._stopped = True
            self._last = last
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _discard(self, found: Closing[Any]) -> None:
        # Nobody waits: a forgotten generator may be collected in any thread, that of the loop too.
        with self._lock:
            if not self._stopped:
                asyncio.run_coroutine_threadsafe(_close(found), self._loop)

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._wait())

    async def _wait(self) -> None:
        await self._stop.wait()
        if self._last is not None:
            await self._last


async def _next(found: Closing[Any]) -> Any:
    return await anext(found, _END)


async def _close(found: Closing[Any]) -> None:
    await found.aclose()
