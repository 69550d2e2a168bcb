"""One history for both databases: up, down and up again, and the tables in code are what it makes."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import create_async_engine

from app.database.migrate import alembic_config, migrate
from app.database.schema_revision import head, known_revisions
from app.database.tables import metadata


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table, once of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/gateway.db"
        return
    server = request.getfixturevalue("postgres")
    name = f"migrations_{uuid.uuid4().hex}"
    yield server.create_database(name)
    server.drop_database(name)


def _look(url: Any, ask: Callable[..., Any]) -> Any:
    """What ``ask(conn)`` returns, on a connection of the test's own."""
    if url.startswith("sqlite"):
        engine = sa.create_engine(url)
        with engine.connect() as conn:
            found = ask(conn)
        engine.dispose()
        return found

    async def look() -> Any:
        engine = create_async_engine(url.replace("postgresql", "postgresql+asyncpg", 1))
        async with engine.connect() as conn:
            found = await conn.run_sync(ask)
        await engine.dispose()
        return found

    return asyncio.run(look())


def _schema(conn: sa.Connection) -> dict[str, Any]:
    """Tables, columns, keys and indexes, as text."""
    inspector = sa.inspect(conn)
    return {
        name: [
            [f"{column['name']} {column['type']} {column['nullable']}" for column in inspector.get_columns(name)],
            inspector.get_pk_constraint(name)["constrained_columns"],
            sorted(str(sorted(one.items(), key=str)) for one in inspector.get_foreign_keys(name)),
            sorted(f"{one['name']} {one['column_names']} {one['unique']}" for one in inspector.get_indexes(name)),
            sorted(str(one["column_names"]) for one in inspector.get_unique_constraints(name)),
        ]
        for name in sorted(inspector.get_table_names())
    }


def test_up_and_down_and_up_again(empty_url: str) -> None:
    migrate(empty_url)
    schema = _look(empty_url, _schema)
    assert len(schema) > 5
    migrate(empty_url, "base")
    assert set(_look(empty_url, _schema)) <= {"alembic_version"}
    migrate(empty_url)
    assert _look(empty_url, _schema) == schema
    # To migrate what is at head changes nothing.
    migrate(empty_url)
    assert _look(empty_url, _schema) == schema


def test_the_history_is_read_as_alembic_reads_it() -> None:
    script = ScriptDirectory.from_config(alembic_config())
    assert head() == script.get_current_head()
    assert known_revisions() == {one.revision for one in script.walk_revisions()}


@pytest.fixture
def head_url(database_url: str) -> str:
    """A database at head."""
    return database_url.replace("+aiosqlite", "").partition("?")[0]


def test_the_tables_in_code_are_those_of_the_history(head_url: str) -> None:
    def differences(conn: sa.Connection) -> Any:
        context = MigrationContext.configure(conn, opts={"compare_type": True, "compare_server_default": True})
        return compare_metadata(context, metadata)

    assert _look(head_url, differences) == []


def test_partial_indexes_are_partial(head_url: str) -> None:
    """The comparison does not look at predicates: a due index over all rows would grow with the history."""
    table = "sqlite_master WHERE type = 'index'" if head_url.startswith("sqlite") else "pg_indexes"
    column = "sql" if head_url.startswith("sqlite") else "indexdef"
    found = _look(head_url, lambda conn: conn.scalars(sa.text(f"SELECT {column} FROM {table}")).all())
    # A row of the queue of copies goes when it is done: each that is there is due.
    due = [text for text in found if text and ("due_at" in text or "slot_until" in text) and "copy_jobs" not in text]
    assert len(due) >= 4
    assert [text for text in due if "IS NOT NULL" not in text.upper()] == []
