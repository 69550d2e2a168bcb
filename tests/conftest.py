"""The database that a test runs on, and the gateways and sandboxes that it starts.

Stories run on the database that ``--db`` names (SQLite by default), and rules and stories on virtual time. Every other
test that asks for a database runs on both, in real time. A test says otherwise with ``on_sqlite`` or
``on_postgresql``, and with the markers ``real_time`` or ``virtual_time``.
"""

import asyncio
import gc
import os
import shutil
import signal
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from app.database.migrate import migrate
from app.main import YOUNG_OBJECTS
from app.operations.retention import Retainer
from app.runtime.logging import set_up
from tests.support.direct_sql import Direct
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running
from tests.support.postgres import PostgresServer
from tests.support.reused_database import KeptConnection
from tests.support.start_fixtures import Retain, StartGateway, StartSandbox, gateways, sandboxes
from tests.support.virtual_time import VirtualLoop

pytest_plugins = ["tests.support.run_summary", "tests.support.statement_cache"]
BOTH = ("sqlite", "postgresql")
TESTS = Path(__file__).parent
set_up("console", "warning")
# As the server does: to look for cycles every 700 objects takes a twentieth of the time.
gc.set_threshold(YOUNG_OBJECTS)
hypothesis.settings.register_profile("quick", max_examples=20, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=100, deadline=None)
hypothesis.settings.load_profile("quick")


IN_MEMORY = Path("/dev/shm")
ROOM = 2 * 1024**3


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def pytest_configure() -> None:
    """The tests' files live in memory where there is room: on a disk a third of the time is spent on its flushes."""
    if "TMPDIR" not in os.environ and IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ROOM:
        os.environ["TMPDIR"] = str(IN_MEMORY)
        tempfile.tempdir = None
    # asyncio leaves a handler alone that is not Python's own. Its own one is put in place for each fixture and each
    # test, and each time the standard library forms the text of all that the running task has in its hands.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupt)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--db``: what stories run on. ``--crash-rounds``: how often the heavy crash tests kill. ``--archive-tasks``: how
    many tasks' files are copied while copiers are killed. ``--record``: keep what the trace tells
    (``tests/stories/trace``). ``--screenshots``: keep pictures of the console's pages."""
    parser.addoption("--db", choices=[*BOTH, "both"], default="sqlite", help="what stories run on (default: sqlite)")
    parser.addoption("--record", action="store_true", help="keep what the trace tells, instead of comparing it")
    parser.addoption("--screenshots", action="store_true", help="keep the console's pages in build/screenshots")
    parser.addoption("--archive-tasks", type=int, default=40, help="tasks of the test of the archive (default: 40)")
    parser.addoption("--crash-rounds", type=int, default=20, help="kills of each heavy crash test (default: 20)")


def _is_in(path: Path, *tiers: str) -> bool:
    return any(path.is_relative_to(TESTS / tier) for tier in tiers)


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], Any]]:
    """Rules and stories run on virtual time, and so does what asks for it."""
    by_tier = _is_in(item.path, "rules", "stories")
    is_virtual = item.get_closest_marker("virtual_time") or (by_tier and not item.get_closest_marker("real_time"))
    return {"virtual": VirtualLoop} if is_virtual else {"real": asyncio.new_event_loop}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the database of each test that does not choose its own."""
    own = [mark for mark in metafunc.definition.iter_markers("parametrize") if "database_url" in mark.args[0]]
    if "database_url" in metafunc.fixturenames and not own:
        is_story = _is_in(metafunc.definition.path, "stories")
        named = metafunc.config.getoption("--db")
        chosen = [named] if is_story and named != "both" else BOTH
        metafunc.parametrize("database_url", chosen, indirect=True)


def pytest_collection_finish() -> None:
    """Thousands of tests live for the whole run: the collector of cycles need not look at them again and again."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What hangs on no database is not run again when the stories are run on the other one."""
    if config.getoption("--db") != "postgresql":
        return
    again = {
        item
        for item in items
        if _is_in(item.path, "stories")
        and getattr(item, "callspec", None)
        and item.callspec.params.get("database_url", "postgresql") == "sqlite"  # type: ignore[attr-defined]
    }
    config.hook.pytest_deselected(items=list(again))
    items[:] = [item for item in items if item not in again]


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


@pytest.fixture(scope="session")
def kept_database(postgres: PostgresServer) -> Iterator[tuple[str, KeptConnection]]:
    """The one PostgreSQL database that the tests of this worker share, and the connection that empties it."""
    # To make a TLS context for each connection, and to be told that there is no TLS, takes as long as many a test.
    url = postgres.create_database("shared", template="template") + "?sslmode=disable"
    with KeptConnection(url) as connection:
        yield url, connection


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database at head with no row in it. Tests that change its schema say ``own_database``; processes and upgrades
    always have their own."""
    if request.param == "sqlite":
        path = tmp_path / "gateway.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite+aiosqlite:///{path}"
    elif request.node.get_closest_marker("own_database") or not _is_in(request.path, "rules", "stories", "database"):
        server = request.getfixturevalue("postgres")
        name = f"test_{uuid.uuid4().hex}"
        yield server.create_database(name, template="template")
        server.drop_database(name)
    else:
        url, connection = request.getfixturevalue("kept_database")
        connection.empty()
        yield url


@pytest.fixture
def db(database_url: str) -> Direct:
    """The test's own way to its database."""
    return Direct(database_url)


@pytest.fixture
async def start_sandbox() -> AsyncIterator[StartSandbox]:
    async with sandboxes() as start:
        yield start


@pytest.fixture
async def start_gateway(database_url: str) -> AsyncIterator[StartGateway]:
    """Starts gateways on the test's database."""
    async with gateways(database_url) as start:
        yield start


@pytest.fixture
async def clock() -> ScaledClock:
    """The clock of ``gateway``, which a test moves."""
    return ScaledClock()


@pytest.fixture
async def gateway(start_gateway: StartGateway, clock: ScaledClock) -> Running:
    """A gateway without background loops: nothing is sent, asked, told or deleted behind a test's back."""
    return await start_gateway(workers=False, clock=clock)


@pytest.fixture
def retain(gateway: Running) -> Retain:
    """Turn the loop of retention by hand until it idles; what it deleted is in the database."""

    async def turn(days: float = 30) -> None:
        retainer = Retainer(gateway.gateway.context, days)
        while await retainer.step() is not None:
            pass

    return turn
