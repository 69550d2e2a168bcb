"""Run a sandbox, inside a test or as a process."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import typer
import uvicorn
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import get_remote_addr

from app.sandbox.calls import Now
from app.sandbox.config import SandboxConfig
from app.sandbox.control import PREFIX, ControlApi
from app.sandbox.result_files import ResultFiles
from app.sandbox.server import VendorApi
from app.sandbox.state import Sandbox
from app.tempolor.kinds import API_PREFIX

_DRAIN_S = 1
_BACKLOG = 2048


class Connections:
    """A registry of open connections, so that one can be reset in the middle of a request."""

    def __init__(self) -> None:
        self._transports: dict[tuple[str, int] | None, asyncio.Transport] = {}

    def protocol(self) -> type[HttpToolsProtocol]:
        """Make a subclass of uvicorn's protocol that keeps this registry."""
        transports = self._transports

        class Registered(HttpToolsProtocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                transports[get_remote_addr(transport)] = transport

            def connection_lost(self, exc: Exception | None) -> None:
                transports.pop(get_remote_addr(self.transport), None)
                super().connection_lost(exc)

        return Registered

    def cut(self, scope: Scope) -> None:
        """Reset the connection of a request; the client sees no orderly end."""
        client = scope["client"]
        transport = self._transports.get((client[0], client[1]))
        if transport is not None:
            _reset(transport)

    def cut_all(self) -> None:
        """Reset whatever is open."""
        for transport in list(self._transports.values()):
            _reset(transport)


def _reset(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None:
        # A connection whose client was killed may be closed already.
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class _Server(uvicorn.Server):
    """Uvicorn inside another program: it handles no signals, and ends at once when ``ending`` is set."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ending = asyncio.Event()

    async def main_loop(self) -> None:
        while not self.ending.is_set():
            await self.on_tick(0)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ending.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening; the connections have been reset already."""
        for server in self.servers:
            server.close()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_DRAIN_S)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def make_app(sandbox: Sandbox, connections: Connections) -> ASGIApp:
    """The vendor's API, the result files and the control API as one ASGI app."""
    vendor = VendorApi(sandbox, connections.cut)
    control = ControlApi(sandbox).router()
    files = ResultFiles(sandbox, connections.cut)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path.startswith(API_PREFIX):
            await vendor(scope, receive, send)
        elif path.startswith("/files/"):
            await files(scope, receive, send)
        elif path.startswith(PREFIX):
            await control(scope, receive, send)
        else:
            await Response("not found", 404)(scope, receive, send)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Who left in the middle of a request is no fault of the sandbox, and has no answer.
        with contextlib.suppress(ClientDisconnect):
            await answer(scope, receive, send)

    return app


def _uvicorn_config(app: ASGIApp, connections: Connections) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=connections.protocol(),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_DRAIN_S,
    )


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's delay off; without, each answer would be 40 ms late.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def running(
    config: SandboxConfig | None = None, host: str = "127.0.0.1", port: int = 0, now: Now = time.time
) -> AsyncIterator[Sandbox]:
    """A sandbox on the running loop, served over real sockets; ``sandbox.base_url`` says where. Port 0: any free one.
    ``now``: its clock, in epoch seconds.

    At the end open connections are reset and callbacks that are still to come are forgotten.
    """
    sock = _bind(host, port)
    sandbox = Sandbox(config or SandboxConfig(), _url(sock), now)
    connections = Connections()
    server = _Server(_uvicorn_config(make_app(sandbox, connections), connections))
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        while not server.started:
            if serving.done():
                await serving
                raise RuntimeError("the sandbox did not start")
            await asyncio.sleep(0.001)
        yield sandbox
    finally:
        await sandbox.close()
        connections.cut_all()
        server.ending.set()
        await serving
        sock.close()


async def serve(config: SandboxConfig, host: str = "127.0.0.1", port: int = 9000) -> None:
    """Serve until SIGINT or SIGTERM."""
    sock = _bind(host, port)
    sandbox = Sandbox(config, _url(sock))
    connections = Connections()
    server = uvicorn.Server(_uvicorn_config(make_app(sandbox, connections), connections))
    typer.echo(f"TemPolor sandbox on {sandbox.base_url} ({config.scale:g} vendor seconds a second, seed {config.seed})")
    typer.echo(f"  API key  {config.api_key}")
    typer.echo(f"  control  {sandbox.base_url}{PREFIX}")
    try:
        await server.serve(sockets=[sock])
    finally:
        await sandbox.close()
        sock.close()


def main(host: str, port: int, config: SandboxConfig) -> None:
    """Run a sandbox as a process of its own; the command line's entry."""
    loop_factory = uvicorn.Config("unused").get_loop_factory()
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serve(config, host, port))
