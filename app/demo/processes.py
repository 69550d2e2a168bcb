"""Child processes: started on free ports, waited for, and ended in every case."""

import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import IO, Any, Final

import httpx

HOST: Final = "127.0.0.1"
READY_S: Final = 60.0
STOP_S: Final = 8.0
_TAIL_LINES: Final = 15


class Broken(Exception):
    """A child process did not do its part; the message says which, and how it ended."""


class Child:
    """A running command of this project. ``log``: where its output goes; None: its errors go to the terminal."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path | None) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._log = log

    def check(self) -> None:
        """Raises ``Broken`` if it has ended."""
        code = self._process.returncode
        if code is not None:
            raise Broken(f"the {self.name} process ended with code {code}{self._tail()}")

    async def wait_ready(self, url: str) -> None:
        """Wait until ``url`` answers 200. Raises ``Broken``."""
        end = time.monotonic() + READY_S
        async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
            while time.monotonic() < end:
                self.check()
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(url)).status_code == 200:
                        return
                await asyncio.sleep(0.05)
        raise Broken(f"the {self.name} process is not ready after {READY_S:g} s{self._tail()}")

    async def wait(self) -> None:
        """Wait for its end."""
        await self._process.wait()

    async def stop(self) -> None:
        """End it: politely, then by force."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def _tail(self) -> str:
        if self._log is None:
            return ""
        lines = self._log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return "".join(f"\n    {line}" for line in lines)


@asynccontextmanager
async def child(
    name: str, *arguments: str, folder: Path, env: Mapping[str, str], quiet: bool = True
) -> AsyncIterator[Child]:
    """Run ``tempolor-gateway ARGUMENTS`` in ``folder``, where no .env file is, until the block ends.

    It has a session of its own: Ctrl-C reaches this process alone, which then ends its children in order.
    ``quiet``: its output goes to a log file in the folder.
    """
    log = folder / f"{name}.log" if quiet else None
    with _opened(log) as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.demo.tethered", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=output or asyncio.subprocess.DEVNULL,
            stderr=output,
            cwd=folder,
            env=dict(env),
            start_new_session=True,
        )
    running = Child(name, process, log)
    try:
        yield running
    finally:
        await running.stop()


def _opened(log: Path | None) -> AbstractContextManager[IO[bytes] | None]:
    return contextlib.nullcontext() if log is None else log.open("wb")


def free_port(wanted: int = 0) -> int:
    """``wanted`` if it is free, else any free port."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise Broken("there is no free port")


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run to the end and return the exit code. The first signal cancels ``main``, so that it puts everything away;
    further ones change nothing."""
    return asyncio.run(_watch_signals(main))


async def _watch_signals(main: Coroutine[Any, Any, int]) -> int:
    told: list[int] = []
    working = asyncio.ensure_future(main)

    def on_signal(number: int) -> None:
        if not told:
            working.cancel()
        told.append(number)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await working
    except asyncio.CancelledError:
        if not told:
            raise
        return 128 + told[0]
