"""Processes of the gateway that are forked from one that has loaded it, which takes more than a second of a processor.

From there on it is a process of its own: its environment, folder, output, signals and end. ``python -m app`` itself is
what the tests of the demo, of the installed command and of what it loads start, and everything whose environment is for
the interpreter too.
"""

import asyncio
import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

from tests.support.fork_server import MOST_BYTES
from tests.support.programs import Ended

ROOT: Final = Path(__file__).parents[2]
LOOK_S: Final = 0.01
FOR_THE_INTERPRETER: Final = ("PYTHON", "COVERAGE_", "LD_", "MALLOC_")


def can_be_forked(env: Mapping[str, str], cwd: Path) -> bool:
    """Whether nothing in this environment is for the interpreter, which has started already, and this folder has no
    ``app`` of its own, which would be the one to run."""
    is_for_it = any(name.startswith(FOR_THE_INTERPRETER) for name in env)
    return sys.platform == "linux" and not is_for_it and not (cwd / "app").is_dir()


class ForkedProcess:
    """What tests use of ``asyncio.subprocess.Process``."""

    def __init__(self, server: "_Server", pid: int) -> None:
        self._server = server
        self.pid = pid
        self.code: int | None = None

    @property
    def returncode(self) -> int | None:
        self._server.note_ended()
        return self.code

    async def wait(self) -> int:
        while self.returncode is None:  # noqa: ASYNC110 - processes outlive the loops of tests
            await asyncio.sleep(LOOK_S)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


async def fork(
    arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: IO[bytes], errors: IO[bytes]
) -> ForkedProcess:
    """Run the command line with these arguments in a process of its own."""
    server = await asyncio.to_thread(_server)
    given = {"arguments": list(arguments), "env": dict(env), "cwd": str(cwd)}
    return server.fork(given, [output.fileno(), errors.fileno()])


async def run_forked(*arguments: str, env: Mapping[str, str], cwd: Path, timeout_s: float) -> Ended:
    """Run the command line to its end, as ``run_program`` does."""
    with TemporaryFile() as output, TemporaryFile() as errors:
        process = await fork(arguments, env=env, cwd=cwd, output=output, errors=errors)
        try:
            code = await asyncio.wait_for(process.wait(), timeout_s)
        finally:
            process.kill()
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode())
        return Ended(code, *texts)


class _Server:
    """The process that forks, as this one sees it. It ends with this one."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # By its id while it lives: afterwards the system gives the id to another one.
        self._living: dict[int, ForkedProcess] = {}
        with theirs:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno())),
                cwd=ROOT,
                env={"PATH": os.defpath},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self._close)
        # Loaded.
        self._next()

    def fork(self, given: dict[str, Any], outputs: list[int]) -> ForkedProcess:
        socket.send_fds(self._channel, [json.dumps(given).encode()], outputs)
        while "forked" not in (told := self._next()):
            self._end(told)
        self._living[told["forked"]] = process = ForkedProcess(self, told["forked"])
        return process

    def note_ended(self) -> None:
        """Give those that have ended their exit codes."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._end(self._next(socket.MSG_DONTWAIT))

    def _end(self, told: dict[str, int]) -> None:
        self._living.pop(told["ended"]).code = told["code"]

    def _next(self, flags: int = 0) -> dict[str, int]:
        message = self._channel.recv(MOST_BYTES, flags)
        assert message, "the process that forks has ended"
        told: dict[str, int] = json.loads(message)
        return told

    def _close(self) -> None:
        self._channel.close()
        self._process.wait()


_first = threading.Lock()
_made = cache(_Server)


def _server() -> _Server:
    with _first:
        return _made()
