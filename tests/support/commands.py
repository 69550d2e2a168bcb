"""The command line as a process of its own, as an operator would start it, or called in this one."""

import asyncio
import io
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from app.cli import main
from app.runtime.logging import set_up
from app.wiring import default_tls_context
from tests.support.forked import ForkedProcess, can_be_forked, fork, run_forked
from tests.support.gateway import ADMIN_KEY, SECRET, eventually
from tests.support.programs import Ended, run_program

AnyProcess = asyncio.subprocess.Process | ForkedProcess
VENDOR_KEY = "Tempo-sandbox-0123456789abcdef0123456789abcdef"
START_S = 30.0


def environment(database_url: str | None, /, **settings: Any) -> dict[str, str]:
    """What a process sees: these settings, and nothing of the test's own environment. None leaves a setting out."""
    given: dict[str, Any] = {
        "database_url": database_url,
        "public_url": "http://127.0.0.1:9",
        "callback_secrets": SECRET,
        "tempolor_api_key": VENDOR_KEY,
        "tempolor_base_url": "http://127.0.0.1:9",
        "bootstrap_admin_key": ADMIN_KEY,
        "loop_idle_s": 0.05,
        "drain_s": 0.1,
        **settings,
    }
    named = {f"GATEWAY_{name.upper()}": str(value) for name, value in given.items() if value is not None}
    return {"PATH": os.defpath, "NO_COLOR": "1", **measuring(), **named}


def measuring() -> dict[str, str]:
    """What a process has to know to have its coverage measured, if this one has."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


async def call(*arguments: str, env: dict[str, str]) -> Ended:
    """A short command, called in a thread: what it does to the database, without the second that a process takes to
    start. Nothing else may look at the environment meanwhile."""

    def called() -> Ended:
        out, err = io.StringIO(), io.StringIO()
        before = dict(os.environ)
        os.environ.clear()
        os.environ.update(env)
        try:
            with redirect_stdout(out), redirect_stderr(err):
                main(arguments)
            code: Any = 0
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            os.environ.clear()
            os.environ.update(before)
            set_up("console", "warning")
        return Ended(int(code), out.getvalue(), err.getvalue())

    return await asyncio.to_thread(called)


async def good(*arguments: str, env: dict[str, str]) -> Ended:
    """Call a command that ends well."""
    ended = await call(*arguments, env=env)
    assert ended.code == 0, ended.text
    return ended


async def run(*arguments: str, env: dict[str, str], cwd: Path, timeout_s: float = START_S) -> Ended:
    """Run a command to its end."""
    if can_be_forked(env, cwd):
        return await run_forked(*arguments, env=env, cwd=cwd, timeout_s=timeout_s)
    return await run_program(sys.executable, "-m", "app", *arguments, env=env, cwd=cwd, timeout_s=timeout_s)


class Running:
    """A process that goes on. ``api`` carries the admin's key; ``url`` is where it listens."""

    def __init__(self, process: AnyProcess, log: Path, url: str) -> None:
        self.process = process
        self.log = log
        self.url = url
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        self.api = httpx.AsyncClient(
            base_url=url, headers=headers, timeout=20, trust_env=False, verify=default_tls_context()
        )

    def lines(self) -> list[dict[str, Any]]:
        """The log so far; each line must be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    async def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        await self.process.wait()

    async def terminate(self, timeout_s: float = 20) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), timeout_s)


@asynccontextmanager
async def running(*arguments: str, env: dict[str, str], cwd: Path) -> AsyncIterator[Running]:
    """A serve (on a free port, if none is given) or a worker that has started, and is ended with the block."""
    log = cwd / f"{uuid.uuid4().hex}.log"
    if arguments[0] == "serve":
        port = () if "--port" in arguments else ("--port", "0")
        arguments = (*arguments, "--host", "127.0.0.1", *port)
    process = await started(*arguments, env=env, cwd=cwd, log=log)
    answering: Running | None = None
    try:
        port = await eventually(partial(_port, process, log), START_S)
        answering = Running(process, log, f"http://127.0.0.1:{port}")
        yield answering
    finally:
        if answering is not None:
            await answering.api.aclose()
        if process.returncode is None:
            process.kill()
            await process.wait()


async def started(*arguments: str, env: dict[str, str], cwd: Path, log: Path, prefix: Sequence[str] = ()) -> AnyProcess:
    """A process of the command line that goes on; what it says is added to ``log``. ``prefix``: a command under which
    it runs."""
    with log.open("ab") as file:
        if can_be_forked(env, cwd) and not prefix:
            return await fork(arguments, env=env, cwd=cwd, output=file, errors=file)
        return await asyncio.create_subprocess_exec(
            *prefix, sys.executable, "-m", "app", *arguments, env=env, cwd=cwd, stdout=file, stderr=file
        )


async def _port(process: AnyProcess, log: Path) -> int | None:
    text = log.read_text()
    assert process.returncode is None, text
    for line in text.splitlines():
        said = json.loads(line) if line.startswith("{") and line.endswith("}") else {}
        if said.get("event") in ("serving", "working"):
            return int(said.get("port", 9))
    return None
