"""Everyday callbacks find their statements made: to make one holds up all that the process does."""

import re
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.databases import on_postgresql
from tests.support.direct_sql import Direct
from tests.support.postgres import PostgresServer
from tests.support.song_callbacks import done, song
from tests.support.start_fixtures import StartGateway

LONG = "a verse of many words " * 40
"""Kept apart from the item."""


class Log:
    """PostgreSQL's log, from now on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read_chars = len(path.read_text())

    def statements(self) -> set[str]:
        """The texts by which groups of callbacks were read and written since this was asked."""
        text = self.path.read_text()[self.read_chars :]
        self.read_chars += len(text)
        entries = re.split(r"(?m)^\d{4}-\S+ \S+ \S+ \[\d+\] ", text)
        executed = [re.sub(r"^LOG:  execute \S+: ", "", entry).strip() for entry in entries]
        return {one for one in executed if one.startswith(("WITH named", "WITH held_tasks"))}


@on_postgresql
@pytest.mark.own_database
async def test_everyday_callbacks_make_no_statement_after_the_rehearsal(
    start_gateway: StartGateway, database_url: str, postgres: PostgresServer
) -> None:
    name = database_url.rpartition("/")[2]
    await Direct(database_url).execute(f"ALTER DATABASE \"{name}\" SET log_statement = 'all'")
    gateway = await start_gateway(workers=False, egress_allow_private=True)
    task = await gateway.submit(webhook_url="http://127.0.0.1:9/hook")
    task_id = UUID(task["id"])
    # An item that is new is rare: it is named when its task is taken, and first told of once.
    await gateway.call_back("song", song(status="waiting"), task_id)
    log = Log(postgres.log_path)
    await gateway.gateway.intake.rehearse()
    rehearsed = log.statements()
    assert len(rehearsed) == 2
    for body in (
        song(status="running"),
        song(status="running", prompt="other"),
        song(status="running", lyrics=LONG),
        song(status="main_succeeded", audio_url="https://cdn.example/a"),
        song(status="main_succeeded", audio_url="https://cdn.example/a", lyrics=LONG + "x"),
        done(),
    ):
        assert (await gateway.call_back("song", body, task_id)).status_code == 200
    assert log.statements() == rehearsed
    assert (await gateway.task(task["id"]))["status"] == "succeeded"


async def test_a_rehearsal_writes_nothing(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False)
    task = await gateway.submit()
    await gateway.gateway.intake.rehearse()
    assert await gateway.task(task["id"]) == task
    assert (await gateway.api.get("/v1/callbacks")).json()["data"] == []


@on_postgresql
async def test_each_writers_connection_rehearses(start_gateway: StartGateway, database_url: str) -> None:
    gateway = await start_gateway(workers=False)
    await gateway.gateway.intake.rehearse()
    last_said = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'WITH held_tasks%'"
    assert len(await Direct(database_url).rows(last_said)) == len(gateway.gateway.intake.writers) == 2


@on_postgresql
@pytest.mark.own_database
async def test_a_database_that_only_reads_now_is_no_reason_not_to_start(
    start_gateway: StartGateway, database_url: str
) -> None:
    gateway = await start_gateway(workers=False)
    name = database_url.rpartition("/")[2].partition("?")[0]
    await Direct(database_url).execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await gateway.gateway.intake.rehearse()
    refused = await gateway.call_back("song", song())
    assert refused.status_code == 503
