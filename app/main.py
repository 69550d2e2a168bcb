"""The long-running processes, `serve` and `work`: sockets and signals around a `Gateway`."""

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

import structlog
import uvicorn
from starlette.types import ASGIApp

from app.api.app import make_health_app
from app.database.connect import name_of, parse_url
from app.gateway import build, release
from app.runtime import traces
from app.settings import Settings
from app.web.connections import SECURITY_HEADERS, Limits, guarded, limits_of_process

GRACE_S: Final = 10
"""How long answers under way have to end once nothing new is taken."""

INSIST_S: Final = 1.0

YOUNG_OBJECTS: Final = 5_000
"""The garbage collector's threshold for young objects. A higher one frees the bodies of failed callbacks later, which
their tracebacks hold."""
_HEAPS: Final = 2
_M_ARENA_MAX: Final = -8
"""As ``malloc.h`` has it."""

log = structlog.get_logger(__name__)


class Server(uvicorn.Server):
    """Uvicorn without its signal handlers: it would close the listening socket at the first signal, so that
    nobody ever saw that the process is not ready, and a rolling restart dropped callbacks."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def make_server(app: ASGIApp, *, host: str, port: int, limits: Limits | None = None) -> Server:
    """A server for the application. ``limits``: of its connections."""
    return Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=guarded(limits or limits_of_process()),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            headers=SECURITY_HEADERS,
            # Forwarding headers are read by `web/proxy_headers`, and only where the operator says from whom.
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_S,
        )
    )


async def serve(settings: Settings, host: str, port: int, *, workers: bool) -> None:
    """Serve HTTP, with the background loops unless they are off, until a signal."""
    _share_heaps()
    traces.set_up()
    gateway = build(settings, workers=workers)
    listener = listen(host, port)
    try:
        await gateway.start()
        await gateway.intake.rehearse()
        server = make_server(gateway.app(), host=host, port=port)
        # What start-up made lives as long as the process: the collector need not look at it again. A callback makes
        # some hundred objects, and no cycle unless it fails; to look every 700 takes a twentieth of the time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        stopping = _on_signals(gateway.drain)
        serving = asyncio.create_task(server.serve([listener]), name="http")
        gateway.listens()
        where = {"host": host, "port": listener.getsockname()[1], "database": _database_of(settings)}
        log.info("serving", **where, workers=workers, release=release())
        stop = asyncio.create_task(stopping.wait())
        await asyncio.wait([serving, stop], return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            log.info("draining", seconds=settings.drain_s)
            await asyncio.wait([serving], timeout=settings.drain_s)
        server.should_exit = True
        await serving
    finally:
        await gateway.stop()
        await asyncio.to_thread(traces.shut_down)
        log.info("stopped")


async def work(settings: Settings, host: str = "127.0.0.1", metrics_port: int | None = None) -> None:
    """Run the background loops alone, until a signal; with a port, health and metrics are served on it."""
    _share_heaps()
    traces.set_up()
    gateway = build(settings, workers=True)
    listener = None if metrics_port is None else listen(host, metrics_port)
    server: Server | None = None
    serving: asyncio.Task[None] | None = None
    try:
        await gateway.start()
        stopping = _on_signals(gateway.drain)
        if listener is not None:
            server = make_server(make_health_app(gateway.services, release()), host=host, port=0)
            serving = asyncio.create_task(server.serve([listener]), name="http")
        port = {} if listener is None else {"port": listener.getsockname()[1]}
        log.info("working", **port, database=_database_of(settings), release=release())
        await stopping.wait()
    finally:
        if server is not None and serving is not None:
            server.should_exit = True
            await serving
        await gateway.stop()
        await asyncio.to_thread(traces.shut_down)
        log.info("stopped")


def _share_heaps() -> None:
    """Have all threads share a few heaps. Else glibc gives each one of its own, and each keeps what was freed in it:
    the archive's store has dozens of threads."""
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_ARENA_MAX, _HEAPS)


def _database_of(settings: Settings) -> str:
    return name_of(parse_url(settings.database_url.get_secret_value()))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, so that a port in use is told before anything starts."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, or asyncio leaves Nagle's delay on for each connection.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        # "::" is every address of the machine, those of IPv4 too, whatever the system's default is.
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {host} port {port}: {error.strerror}") from None
    listener.listen(2048)
    listener.setblocking(False)
    return listener


def _on_signals(begin: Callable[[], None]) -> asyncio.Event:
    stopping = asyncio.Event()
    since: list[float] = []

    def on_signal() -> None:
        now = time.monotonic()
        # A shell or a supervisor may send the first one twice; who insists later wants the end at once.
        if since and now - since[0] > INSIST_S:
            os._exit(1)
        since.append(now)
        begin()
        stopping.set()

    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, on_signal)
    return stopping
