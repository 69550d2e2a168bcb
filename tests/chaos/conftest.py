"""What violence needs: a server of the test's own, a number of rounds, and a place for figures."""

from collections.abc import Callable, Iterator

import pytest

from app.database.migrate import migrate
from tests.support.postgres import PostgresServer

Tell = Callable[[str], None]


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test alone, with a migrated database ``gateway``."""
    with PostgresServer() as server:
        migrate(server.create_database("gateway"))
        yield server


@pytest.fixture
def crash_rounds(request: pytest.FixtureRequest) -> int:
    """How often the heavy crash tests kill."""
    return int(request.config.getoption("--crash-rounds"))


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Figures to be shown at the end of the run, and at once with ``-s``."""

    def note(figures: str) -> None:
        record_property("figures", figures)
        print(figures)

    return note
