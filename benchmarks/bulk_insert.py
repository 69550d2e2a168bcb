"""Many rows into a table, fast, on either database: COPY on PostgreSQL, executemany on SQLite."""

import asyncio
import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from app.database.connect import is_sqlite, parse_url

Row = tuple[Any, ...]
CHUNK: Final = 20_000
_SQLITE: Final = sqlite.dialect()


def fetch(url: str, sql: str) -> tuple[list[str], list[Row]]:
    """Rows as the driver gives them, with the names of their columns: what ``insert`` takes back unchanged."""
    parsed = parse_url(url)
    if is_sqlite(parsed):
        with _sqlite(parsed) as conn:
            cursor = conn.execute(sql)
            return [one[0] for one in cursor.description or ()], cursor.fetchall()

    async def run() -> tuple[list[str], list[Row]]:
        conn = await _postgres(parsed)
        try:
            statement = await conn.prepare(sql)
            rows = [tuple(row) for row in await statement.fetch()]
            return [one.name for one in statement.get_attributes()], rows
        finally:
            await conn.close()

    return asyncio.run(run())


def execute(url: str, *statements: str) -> None:
    """Run statements outside of a transaction."""
    parsed = parse_url(url)
    if is_sqlite(parsed):
        with _sqlite(parsed) as conn:
            for statement in statements:
                conn.execute(statement)
        return

    async def run() -> None:
        conn = await _postgres(parsed)
        for statement in statements:
            await conn.execute(statement)
        await conn.close()

    asyncio.run(run())


def insert(url: str, table: str, columns: Sequence[str], rows: Iterable[Row], *, durable: bool = True) -> None:
    """Insert rows of the driver's own values. ``durable`` off: faster, for a database that can be made again."""
    parsed = parse_url(url)
    chunks = _chunks(rows)
    if is_sqlite(parsed):
        names = ", ".join(f'"{name}"' for name in columns)
        marks = ", ".join("?" * len(columns))
        with _sqlite(parsed) as conn:
            if not durable:
                conn.execute("PRAGMA synchronous = OFF")
                conn.execute("PRAGMA cache_size = -400000")
            for chunk in chunks:
                conn.execute("BEGIN IMMEDIATE")
                conn.executemany(f'INSERT INTO "{table}" ({names}) VALUES ({marks})', chunk)
                conn.execute("COMMIT")
        return

    async def run() -> None:
        conn = await _postgres(parsed)
        for chunk in chunks:
            await conn.copy_records_to_table(table, records=chunk, columns=list(columns))
        await conn.close()

    asyncio.run(run())


def to_driver(url: str, column: sa.Column[Any], value: Any) -> Any:
    """A value as the driver takes it: SQLite has no ids and no times of its own."""
    if not is_sqlite(parse_url(url)):
        return value
    process = column.type.dialect_impl(_SQLITE).bind_processor(_SQLITE)
    return process(value) if process else value


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while chunk := list(itertools.islice(iterator, CHUNK)):
        yield chunk


class _sqlite:
    """A connection of our own that is closed at the end."""

    def __init__(self, url: sa.URL) -> None:
        self._path = str(url.database)

    def __enter__(self) -> sqlite3.Connection:
        self._conn = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        return self._conn

    def __exit__(self, *_: object) -> None:
        self._conn.close()


async def _postgres(url: sa.URL) -> "asyncpg.Connection[asyncpg.Record]":
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return await asyncpg.connect(plain)
