"""A PostgreSQL that keeps what it confirms is not spoken of, until it does not."""

from collections.abc import Iterator

import pytest

from app.database.migrate import migrate
from tests.support.gateway import running_gateway
from tests.support.gateway_warnings import metric, told, warnings
from tests.support.logs import capture_logs
from tests.support.postgres import PostgresServer


@pytest.fixture(scope="module")
def durable() -> Iterator[PostgresServer]:
    """A PostgreSQL with the settings of production."""
    with PostgresServer(durable=True) as server:
        migrate(server.create_database("gateway"))
        yield server


async def test_a_database_that_keeps_what_it_confirms_is_not_spoken_of_until_it_does_not(
    durable: PostgresServer,
) -> None:
    with capture_logs() as logs:
        async with running_gateway(durable.url("gateway"), workers=False) as gateway:
            assert await warnings(gateway) == {}
            assert set((await metric(gateway, "gateway_database_unsafe")).values()) == {0}
        assert told(logs, "database.unsafe") == []
        durable.execute("ALTER DATABASE gateway SET synchronous_commit = off")
        async with running_gateway(durable.url("gateway"), workers=False) as gateway:
            assert "synchronous_commit" in (await warnings(gateway))["database_unsafe"]
            assert (await metric(gateway, "gateway_database_unsafe"))["synchronous_commit"] == 1
    [line] = told(logs, "database.unsafe")
    assert (line["log_level"], line["off"]) == ("warning", ["synchronous_commit"])
