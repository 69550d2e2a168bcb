"""A database for each test, of both kinds: a SQLite file, and a clone of a migrated PostgreSQL template."""

import asyncio
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from app.sandbox.config import SandboxConfig
from app.sandbox.run import running as running_sandbox
from app.sandbox.state import Sandbox
from app.storage.migrate import migrate
from app.telemetry.logs import set_up
from tests.support.gateway import Running, running_gateway
from tests.support.postgres import PostgresServer
from tests.support.virtual_time import VirtualLoop, virtual_loop

BOTH = ("sqlite", "postgresql")
set_up("console", "warning")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--crash-rounds``: how often the heavy crash tests kill."""
    parser.addoption("--crash-rounds", type=int, default=20, help="kills of each heavy crash test (default: 20)")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], Any]]:
    """Tests that ask for it run on virtual time."""
    if item.get_closest_marker("virtual_time"):
        return {"virtual": VirtualLoop}
    return {"real": asyncio.new_event_loop}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests measured, however the run was split."""
    told = [
        f"{report.nodeid.rpartition('::')[2]}: {figures}"
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, figures in report.user_properties
        if name == "figures"
    ]
    if told:
        terminalreporter.section("figures")
        for line in told:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server with a migrated database ``template``."""
    with PostgresServer() as server:
        migrate(server.create_database("template"))
        yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file."""
    path = tmp_path_factory.mktemp("template") / "gateway.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh database at head, once on each kind."""
    if request.param == "sqlite":
        path = tmp_path / "gateway.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite+aiosqlite:///{path}"
        return
    server = request.getfixturevalue("postgres")
    name = f"test_{uuid.uuid4().hex}"
    yield server.create_database(name, template="template")
    server.drop_database(name)


StartGateway = Callable[..., AbstractAsyncContextManager[Running]]
Start = Callable[..., Any]


@pytest.fixture
async def start_sandbox() -> AsyncIterator[Start]:
    """Start sandboxes (``await start_sandbox(scale=…)``) that end with the test."""
    async with AsyncExitStack() as stack:

        async def start(config: SandboxConfig | None = None, **given: Any) -> Sandbox:
            loop = virtual_loop()
            now = loop.epoch_s if loop else time.time
            return await stack.enter_async_context(running_sandbox(config or SandboxConfig(**given), now=now))

        yield start


@pytest.fixture
async def start_gateway(database_url: str) -> AsyncIterator[Start]:
    """Start gateways on the test's database (``await start_gateway(sandbox, submit_timeout_s=…)``)."""
    async with AsyncExitStack() as stack:

        async def start(sandbox: Sandbox | None = None, **given: Any) -> Running:
            if sandbox is not None:
                given.setdefault("tempolor_base_url", sandbox.base_url)
            return await stack.enter_async_context(running_gateway(database_url, **given))

        yield start
