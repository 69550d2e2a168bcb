"""What is measured, each a process of its own on a free port, and the databases under them."""

import contextlib
import functools
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from app.database.migrate import migrate
from benchmarks import plain, seeding
from benchmarks.bodies import Batch
from benchmarks.load import HOST
from tests.support.postgres import PostgresServer

Kind = Literal["postgresql", "sqlite"]
KINDS: Final[tuple[Kind, ...]] = ("postgresql", "sqlite")
POSTGRES_SETTINGS: Final = {"shared_buffers": "256MB", "max_wal_size": "4GB"}
START_TIMEOUT_S: Final = 30.0


def _nothing(_batch: Batch) -> None:
    pass


@dataclass(slots=True)
class Subject:
    """A server that takes callbacks. ``seed`` puts a batch's tasks into its database. ``repeat``: it keeps nothing,
    so the same bodies may be sent again."""

    name: str
    command: list[str]
    environment: dict[str, str]
    directory: Path
    port: int
    seed: Callable[[Batch], None] = _nothing
    repeat: bool = False
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def log_path(self) -> Path:
        return self.directory / f"{self.name.replace(' ', '-')}.log"

    def start(self) -> "Subject":
        """Start it, and return when it takes connections."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.directory, env=environment | self.environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
                return self
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"{self.name} did not start:\n{self.log_path.read_text()[-3000:]}")

    def stop(self) -> None:
        """End it."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


class Lab:
    """The place of one run: a directory, a PostgreSQL with durable commits, and every subject that was started."""

    def __init__(self) -> None:
        # The generator and the servers hold many sockets each.
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 20_000)), hard))
        self._stack = contextlib.ExitStack()
        self.directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
        self._server: PostgresServer | None = None
        self._subjects: dict[str, Subject] = {}
        self._seed = 0

    def __enter__(self) -> "Lab":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def postgres(self) -> PostgresServer:
        if self._server is None:
            self._server = self._stack.enter_context(PostgresServer(POSTGRES_SETTINGS, durable=True))
        return self._server

    @functools.cached_property
    def webhook_url(self) -> str | None:
        """The webhook of every task, if the gateway writes notifications; else none, so that nobody writes any."""
        url = self.database("sqlite", "probe")
        migrate(url)
        return seeding.WEBHOOK_URL if seeding.notifies(url) else None

    def batch(self, tasks: int) -> Batch:
        """A batch that nobody has had before."""
        self._seed += 1
        return Batch(self._seed, tasks, time.time_ns() // 1_000_000)

    def database(self, kind: Kind, name: str) -> str:
        """The URL of a new, empty database."""
        if kind == "sqlite":
            return f"sqlite:///{self.directory / name}.db"
        return self.postgres.create_database(name)

    def drop(self, kind: Kind, name: str) -> None:
        """Remove a database that nobody uses."""
        if kind == "postgresql":
            self.postgres.drop_database(name)
        for path in self.directory.glob(f"{name}.db*"):
            path.unlink()

    def gateway(self, kind: Kind) -> Subject:
        """The gateway on a database of this kind, started once."""
        return self._once(f"gateway {kind}", lambda: self._make_gateway(kind))

    def plain(self, kind: Kind) -> Subject:
        """The plain way on a database of this kind, started once."""
        return self._once(f"plain {kind}", lambda: self._make_plain(kind))

    def plain_sql(self) -> Subject:
        """The plain way without an ORM, on PostgreSQL, started once."""
        return self._once("plain SQL postgresql", lambda: self._make_plain("postgresql", "SQL", "benchmarks.plain_sql"))

    def floor(self) -> Subject:
        """The server without a gateway."""
        return self._once("floor", lambda: self._make("floor", [sys.executable, "-m", "benchmarks.floor"], {}))

    def instant_vendor(self) -> Subject:
        """A vendor that accepts every submission at once, started once."""
        return self._once(
            "vendor", lambda: self._make("vendor", [sys.executable, "-m", "benchmarks.instant_vendor"], {})
        )

    def serve_gateway(self, name: str, url: str, *arguments: str, **settings: str) -> Subject:
        """A gateway on a database at head; not started."""
        given = seeding.make_settings(url)
        environment = {
            "DATABASE_URL": url,
            "PUBLIC_URL": given.public_url,
            "CALLBACK_SECRETS": given.callback_secrets[0].get_secret_value(),
            "TEMPOLOR_API_KEY": given.tempolor_api_key.get_secret_value(),
            "TEMPOLOR_BASE_URL": given.tempolor_base_url,
            "BOOTSTRAP_ADMIN_KEY": seeding.KEY,
            "LOG_LEVEL": "warning",
            "DRAIN_S": "0.1",
        }
        prefixed = {f"GATEWAY_{key}": value for key, value in (environment | settings).items()}

        def seed(batch: Batch) -> None:
            seeding.seed_running(url, batch, self.webhook_url)

        port = _free_port()
        command = [sys.executable, "-m", "app", "serve", "--host", HOST, "--port", str(port), *arguments]
        return Subject(name, command, prefixed, self.directory, port, seed)

    def _make_gateway(self, kind: Kind) -> Subject:
        url = self.database(kind, "gateway")
        migrate(url)
        return self.serve_gateway(f"gateway {kind}", url, "--workers-off")

    def _make_plain(self, kind: Kind, way: str = "", module: str = "benchmarks.plain") -> Subject:
        url = self.database(kind, f"plain{way.lower()}")
        plain.create_tables(url)

        def seed(batch: Batch) -> None:
            seeding.seed_plain(url, batch, self.webhook_url)

        name = f"plain {way} {kind}" if way else f"plain {kind}"
        subject = self._make(name, [sys.executable, "-m", module], {"DATABASE_URL": url})
        subject.seed, subject.repeat = seed, False
        return subject

    def _make(self, name: str, command: list[str], environment: dict[str, str]) -> Subject:
        port = _free_port()
        return Subject(name, [*command, str(port)], environment, self.directory, port, repeat=True)

    def _once(self, name: str, make: Callable[[], Subject]) -> Subject:
        if name not in self._subjects:
            subject = self._subjects[name] = make().start()
            self._stack.callback(subject.stop)
        return self._subjects[name]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
