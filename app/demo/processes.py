"""The sandbox and the gateway as subprocesses: started on free ports, waited for, and ended in every case.

``python -m app.demo.processes [OPTIONS OF THE SANDBOX]`` (``make run``) serves both until Ctrl-C.
"""

import asyncio
import contextlib
import json
import os
import runpy
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import typer

from app.audit import audit
from app.clients import tickets
from app.clients.keys import BOOTSTRAP
from app.database.connect import open_database
from app.runtime.clock import Clock

HOST: Final = "127.0.0.1"
READY_S: Final = 60.0
STOP_S: Final = 8.0
GRACE_S: Final = 5.0
_TAIL_LINES: Final = 15


class SubprocessFailed(Exception):
    """A subprocess ended, or did not begin to answer; the message says which, and how."""


class Server:
    """A running subprocess that serves at ``url``."""

    def __init__(self, name: str, url: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.url = url
        self._name = name
        self._process = process
        self._log = log

    def check(self) -> None:
        """Raises ``SubprocessFailed`` if it has ended."""
        if self._process.returncode is not None:
            raise self._failed(f"ended with code {self._process.returncode}")

    async def wait_ready(self, path: str) -> None:
        """Wait until ``path`` answers 200. Raises ``SubprocessFailed``."""
        end = time.monotonic() + READY_S
        async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
            while time.monotonic() < end:
                self.check()
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(self.url + path)).status_code == 200:
                        return
                await asyncio.sleep(0.05)
        raise self._failed(f"is not ready after {READY_S:g} s")

    async def stop(self) -> None:
        """Terminate it, and kill it if that does not end it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def _failed(self, how: str) -> SubprocessFailed:
        tail = self._log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return SubprocessFailed("\n    ".join([f"the {self._name} process {how}", *tail]))


class Serving(NamedTuple):
    """What is running, an admin's key, and where the database is."""

    gateway: Server
    sandbox: Server
    admin_key: str
    database_url: str


@asynccontextmanager
async def servers(
    env: Mapping[str, str],
    sandbox_options: Sequence[str],
    *,
    ports: tuple[int, int] = (0, 0),
    quiet: bool = True,
    archive: bool = False,
) -> AsyncIterator[Serving]:
    """Gateway and sandbox, until the block ends; the database and what is kept go with them. Raises
    ``SubprocessFailed``.

    ``env``: what the gateway is given besides addresses and keys; ``ports``: those of gateway and sandbox, taken if
    they are free; ``quiet``: logs go to a file, else to the terminal; ``archive``: result files are kept, and uploads
    taken.
    """
    gateway_port, sandbox_port = (_free_port(port) for port in ports)
    gateway_url, sandbox_url = f"http://{HOST}:{gateway_port}", f"http://{HOST}:{sandbox_port}"
    vendor_key, admin_key = f"Tempo-{secrets.token_hex(24)}", secrets.token_urlsafe(36)
    with tempfile.TemporaryDirectory(prefix="tempolor-gateway-") as name:
        folder = Path(name)
        settings = {
            "GATEWAY_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'gateway.db'}",
            "GATEWAY_PUBLIC_URL": gateway_url,
            "GATEWAY_CALLBACK_SECRETS": secrets.token_urlsafe(36),
            "GATEWAY_TEMPOLOR_API_KEY": vendor_key,
            "GATEWAY_TEMPOLOR_BASE_URL": sandbox_url,
            "GATEWAY_BOOTSTRAP_ADMIN_KEY": admin_key,
            "GATEWAY_EGRESS_ALLOW_PRIVATE": "true",
            "GATEWAY_DRAIN_S": "0.1",
        }
        if archive:
            settings["GATEWAY_ARCHIVE_URL"] = f"file://{folder / 'archive'}"
        start = partial(_server, folder=folder, env={**env, **settings}, quiet=quiet)
        at = ("--host", HOST, "--port")
        sandbox_command = ("sandbox", *at, str(sandbox_port), "--key", vendor_key, *sandbox_options)
        async with (
            start("sandbox", sandbox_url, sandbox_command) as sandbox,
            start("gateway", gateway_url, ("serve", *at, str(gateway_port))) as gateway,
        ):
            await sandbox.wait_ready("/_sandbox")
            await gateway.wait_ready("/readyz")
            yield Serving(gateway, sandbox, admin_key, settings["GATEWAY_DATABASE_URL"])


@asynccontextmanager
async def _server(
    name: str, url: str, command: Sequence[str], *, folder: Path, env: dict[str, str], quiet: bool
) -> AsyncIterator[Server]:
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from app.demo.processes import run_command; run_command()", *command),
            stdin=asyncio.subprocess.PIPE,
            stdout=output,
            stderr=output if quiet else None,
            # No .env file is there.
            cwd=folder,
            env=env,
            # Ctrl-C reaches this process alone, which then ends its subprocesses in order.
            start_new_session=True,
        )
    server = Server(name, url, process, log)
    try:
        yield server
    finally:
        await server.stop()


def _free_port(wanted: int) -> int:
    """``wanted`` if it is free, else any free port."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise SubprocessFailed("there is no free port")


def run_command() -> None:
    """What a subprocess runs: ``tempolor-gateway`` with its arguments, until its parent is gone.

    The parent holds the other end of standard input and never writes to it. When the parent is gone, for whatever
    reason, the end of that stream is read here, and the subprocess ends too.
    """
    sys.argv[0] = "tempolor-gateway"
    threading.Thread(target=_end_with_parent, daemon=True).start()
    runpy.run_module("app", run_name="__main__")


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


async def until_signal(main: Coroutine[Any, Any, int]) -> int:
    """Run ``main`` to its end; the exit code. The first signal cancels it, so that it ends its subprocesses; further
    ones change nothing."""
    received: list[int] = []
    working = asyncio.ensure_future(main)

    def on_signal(number: int) -> None:
        if not received:
            working.cancel()
        received.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    try:
        return await working
    except asyncio.CancelledError:
        if not received:
            raise
        return 128 + received[0]


async def _serve(sandbox_options: Sequence[str]) -> int:
    # At this scale nothing takes longer than ten seconds, so a lost callback is noticed soon after.
    env = {"GATEWAY_QUERY_FIRST_AFTER_S": "15", "GATEWAY_LOG_FORMAT": "console", **os.environ}
    options = ("--scale", "20", *sandbox_options)
    try:
        async with servers(env, options, ports=(8000, 9000), quiet=False, archive=True) as serving:
            gateway, sandbox, admin_key, database_url = serving
            link = await _console_link(database_url, gateway.url)
            typer.echo(_welcome(gateway.url, sandbox.url, admin_key, link))
            while True:
                gateway.check()
                sandbox.check()
                await asyncio.sleep(0.2)
    except SubprocessFailed as error:
        typer.echo(str(error), err=True)
    return 1


async def _console_link(database_url: str, url: str) -> str:
    db = open_database(database_url)
    try:
        issued = await tickets.issue_for_console(db, Clock(), audit.command_line(), BOOTSTRAP)
    finally:
        await db.close()
    return tickets.link(url, issued)


def _welcome(url: str, sandbox_url: str, key: str, link: str) -> str:
    task = {"kind": "song.generate", "params": {"prompt": "slow pop ballad, piano", "model": "tempolor-latest"}}
    return f"""
Open this, to make a song and hear it (it signs you in once, within a quarter of an hour):

  {link}

  gateway    {url}   (its API: {url}/console/api)
  console    {url}/console   (signs in with the admin key)
  sandbox    {sandbox_url}/_sandbox   (faults on demand: docs/sandbox.md)
  admin key  {key}

Or submit a task from here, then read it:

  KEY={key}
  curl -s {url}/v1/tasks -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\
    -d '{json.dumps(task)}'
  curl -s '{url}/v1/tasks?limit=1' -H "Authorization: Bearer $KEY"

The database and all files go with this process. Ctrl-C ends both.
"""


if __name__ == "__main__":
    sys.exit(asyncio.run(until_signal(_serve(sys.argv[1:]))))
