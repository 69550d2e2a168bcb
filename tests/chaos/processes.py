"""Gateways as processes that are killed and started again at will; a serve comes back on the port it had."""

import asyncio
import contextlib
import json
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from app.wiring import default_tls_context
from tests.support.commands import AnyProcess, environment, started
from tests.support.gateway import ADMIN_KEY, eventually

START_S = 60.0
# Below the range from which the kernel takes ports for outgoing connections: nobody takes one while its owner is dead.
_PORTS = range(10_000, 15_000)


def free_port() -> int:
    """A port that nobody listens on."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Process:
    """A ``serve`` (its ``port`` stays the same) or a ``worker``. ``kills`` counts how often it was killed.
    ``variables``: what it finds in its environment beside its settings; ``prefix``: a command under which it runs."""

    def __init__(
        self,
        *arguments: str,
        database_url: str,
        cwd: Path,
        port: int | None = None,
        variables: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.kills = 0
        self._arguments = arguments if port is None else (*arguments, "--host", "127.0.0.1", "--port", str(port))
        self._env = environment(database_url, **{"public_url": self.url, "log_level": "warning", **settings})
        self._env |= variables or {}
        self._prefix = prefix
        self._cwd = cwd
        self.log = cwd / f"{arguments[0]}-{port or id(self)}.log"
        self._process: AnyProcess | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self, *, wait: bool = True) -> None:
        """Start it; a serve answers when this returns, unless that is not waited for."""
        self._process = await started(*self._arguments, env=self._env, cwd=self._cwd, log=self.log, prefix=self._prefix)
        if wait and self.port is not None:
            async with client(self.url) as api:
                await eventually(partial(self._answers, api), START_S)

    async def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
            self.kills += 1

    def terminate(self) -> None:
        """Tell it to end in order (SIGTERM)."""
        assert self._process is not None
        self._process.terminate()

    async def ended(self, timeout_s: float) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), timeout_s)

    def faults(self) -> list[dict[str, Any]]:
        """What it logged as an error, over all its lives; a line that a kill cut short is passed over."""
        found = []
        for line in self.log.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                said = json.loads(line)
                if said.get("level") == "error":
                    found.append(said)
        return found

    async def _answers(self, api: httpx.AsyncClient) -> bool:
        assert self.pid is not None, self.log.read_text()[-3000:]
        try:
            return (await api.get("/healthz")).status_code == 200
        except httpx.TransportError:
            return False


def client(url: str, connections: int = 100, *, verify: bool = True) -> httpx.AsyncClient:
    """An admin's client. ``verify``: whether a certificate must be for this machine."""
    return httpx.AsyncClient(
        base_url=url,
        headers={"Authorization": f"Bearer {ADMIN_KEY}"},
        timeout=30,
        verify=default_tls_context() if verify else False,
        trust_env=False,
        limits=httpx.Limits(max_connections=connections),
    )


@asynccontextmanager
async def serving(database_url: str, cwd: Path, *, workers: bool = True, **settings: Any) -> AsyncIterator[Process]:
    """A serve that has started, and is killed with the block."""
    arguments = ("serve",) if workers else ("serve", "--workers-off")
    served = Process(*arguments, database_url=database_url, cwd=cwd, port=free_port(), **settings)
    try:
        await served.start()
        yield served
    finally:
        await served.kill()


async def pages(api: httpx.AsyncClient, path: str, **params: Any) -> AsyncIterator[dict[str, Any]]:
    """Every row of a list."""
    cursor: dict[str, Any] = {}
    while True:
        answer = await api.get(path, params={"limit": 200, **params, **cursor})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        for row in page["data"]:
            yield row
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}


async def holds(
    check: Callable[[], Awaitable[Any]], timeout_s: float, told: Callable[[], Any], every_s: float = 0.1
) -> Any:
    """The first true result of a check; otherwise fails, with what ``told`` says then."""
    try:
        return await eventually(check, timeout_s, every_s)
    except TimeoutError:
        raise AssertionError(f"not within {timeout_s} s: {told()}") from None
