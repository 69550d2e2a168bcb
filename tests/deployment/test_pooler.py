"""Everything works through PgBouncer as it is installed, whether it gives a session or a transaction to each client:
migrations, commands, callbacks, questions to the vendor, notifications."""

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from app.database.connect import parse_url
from app.database.database import Database, Lane
from app.database.postgres import PostgresBackend, look_at
from app.database.postgres_url import read_url
from app.watching.announce import CHANNEL
from tests.chaos.processes import client, serving
from tests.processes.upgrades.flow import faults
from tests.support.commands import environment, run
from tests.support.gateway import SONG, eventually, running_gateway
from tests.support.pgbouncer import pooling
from tests.support.postgres import PostgresServer
from tests.support.receiver import receiving
from tests.support.start_fixtures import StartSandbox

TASKS = 5


@pytest.fixture(params=["session", "transaction"])
def pooled(request: pytest.FixtureRequest, postgres: PostgresServer) -> Iterator[tuple[str, str, str]]:
    """The URL of an empty database behind a pooler, and without it."""
    name = f"pooled_{uuid.uuid4().hex}"
    direct = postgres.create_database(name)
    with pooling(postgres, request.param) as port:
        yield f"postgresql://postgres@127.0.0.1:{port}/{name}", direct, request.param
    postgres.drop_database(name)


@pytest.mark.slow
async def test_the_whole_flow_works_through_a_pooler(
    pooled: tuple[str, str, str], tmp_path: Path, start_sandbox: StartSandbox
) -> None:
    url, direct, _ = pooled
    env = environment(url)
    migrations = await asyncio.gather(*(run("migrate", env=env, cwd=tmp_path) for _ in range(2)))
    assert [one.code for one in migrations] == [0, 0], [one.err for one in migrations]
    # Some callbacks are lost, so that the vendor is asked.
    sandbox = await start_sandbox(scale=400, callbacks={"drop": 0.2})
    settings: dict[str, Any] = {
        "tempolor_base_url": sandbox.base_url,
        "submit_max_in_flight": 100,
        "query_rate_per_s": 20,
        "query_first_after_s": 1,
        "query_interval_s": 0.5,
        "egress_allow_private": "true",
    }
    async with receiving() as receiver, serving(url, tmp_path, **settings) as served, client(served.url) as api:
        tasks = [{"kind": "song.generate", "params": SONG, "webhook_url": receiver.url()} for _ in range(TASKS)]
        made = await api.post("/v1/tasks/batch", json={"tasks": tasks})
        assert made.status_code == 202, made.text
        for task in made.json()["data"]:
            ended = await api.get(f"/v1/tasks/{task['id']}", params={"wait": 50})
            assert ended.json()["status"] == "succeeded", ended.text
        listed = await run("clients", "list", env=env, cwd=tmp_path)
        assert listed.code == 0, listed.err

        async def all_told() -> bool:
            told = [one for one in receiver.bodies if b'"task.succeeded"' in one]
            return len(told) >= TASKS

        await eventually(all_told, 30)
        assert faults(served) == []
    assert [call for call in sandbox.calls if call.operation == "query"]
    assert await _listening(direct) == 0


async def _listening(url: str) -> int:
    conn = await asyncpg.connect(url)
    try:
        return await conn.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query LIKE $1", f"LISTEN%{CHANNEL}%")
    finally:
        await conn.close()


async def test_a_pooler_is_told_from_a_server(pooled: tuple[str, str, str]) -> None:
    through, direct, _ = pooled
    assert await look_at(read_url(parse_url(through)))
    assert not await look_at(read_url(parse_url(direct)))


@pytest.mark.parametrize("kind", ["pooled", "direct"])
async def test_settings_hold_in_each_transaction_and_leak_into_none(
    pooled: tuple[str, str, str], postgres: PostgresServer, kind: str
) -> None:
    """Whatever the database has for its own defaults."""
    through, direct, _ = pooled
    name = direct.rpartition("/")[2]
    for default in (
        "default_transaction_isolation = serializable",
        "timezone = 'Asia/Shanghai'",
        "bytea_output = escape",
        "lock_timeout = '7s'",
    ):
        postgres.execute(f"ALTER DATABASE {name} SET {default}")
    db = Database(PostgresBackend(parse_url(f"{through if kind == 'pooled' else direct}?search_path=own,public")))
    expected = {
        "lock_timeout": "5s",
        "statement_timeout": "5s",
        "idle_in_transaction_session_timeout": "5s",
        "bytea_output": "hex",
        "timezone": "UTC",
        "transaction_isolation": "read committed",
        "search_path": "own,public",
    }

    def settings(conn: sa.Connection) -> dict[str, Any]:
        return {name: conn.exec_driver_sql(f"SHOW {name}").scalar() for name in expected}

    try:
        for lane in Lane:
            held = await asyncio.gather(*(db.on(lane).read(settings) for _ in range(5)))
            assert held == [expected] * 5
        assert await db.on(Lane.CALLBACKS).attempt(settings) == expected
    finally:
        await db.close()
    conn = await asyncpg.connect(through, statement_cache_size=0)
    try:
        assert await conn.fetchval("SHOW lock_timeout") == "7s"
    finally:
        await conn.close()


async def test_work_of_two_processes_mixes_on_the_same_connections(postgres: PostgresServer) -> None:
    """Where each transaction gets another connection of the server's, statements come to those that others used."""
    name = f"pooled_{uuid.uuid4().hex}"
    postgres.create_database(name, template="template")
    with pooling(postgres, "transaction") as port:
        url = f"postgresql://postgres@127.0.0.1:{port}/{name}"
        async with running_gateway(url) as first, running_gateway(url, workers=False) as second:
            ids = [f"t2m_{number}" for number in range(60)]
            answers = await asyncio.gather(
                *(
                    gateway.call_back("song", {"songs": [{"item_id": one, "status": status}]})
                    for one in ids
                    for gateway, status in ((first, "running"), (second, "main_succeeded"))
                )
            )
            assert {answer.status_code for answer in answers} == {200}
            shown = [(await first.api.get(f"/v1/items/{one}")).json() for one in ids]
            assert {one["items"][0]["status"] for one in shown} == {"main_succeeded"}
            assert max(second.gateway.supervisor.ages_s().values()) < 20
    postgres.drop_database(name)
