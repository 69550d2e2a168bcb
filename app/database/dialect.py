"""Where the two databases differ: how values travel, and the lock clause. Modules that hold SQL ask
``is_postgresql``; nothing else asks which one it is."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from app.database.database import dumps
from app.database.tables import UtcDateTime

Columns = tuple[sa.Column[Any], ...]
Convert = Callable[[Any], Any]

_TIME_CHARS: Final = len("2026-01-01 00:00:00.000000")


def is_postgresql(conn: sa.Connection) -> bool:
    return conn.dialect.name == "postgresql"


def locked(statement: sa.Select[Any], *, of: sa.Table, skip: bool) -> sa.Select[Any]:
    """Lock the rows of one table against other writers. SQLite has one writer and drops the clause.

    ``FOR NO KEY UPDATE``: the full ``FOR UPDATE`` would block inserts of rows that refer to the locked ones.
    """
    return statement.with_for_update(key_share=True, skip_locked=skip, of=of)


def any_of(conn: sa.Connection, column: sa.ColumnElement[Any], values: Sequence[Any]) -> sa.ColumnElement[bool]:
    """The condition that ``column`` is one of the values: an array on PostgreSQL, so that any number of them is one
    prepared statement."""
    if is_postgresql(conn):
        return column == sa.any_(sa.literal(list(values), postgresql.ARRAY(column.type)))
    return column.in_(values)


def seconds_between(
    on_postgresql: bool, start: sa.ColumnElement[datetime], end: sa.ColumnElement[datetime]
) -> sa.ColumnElement[float]:
    """How long after one time another was."""
    if on_postgresql:
        return sa.extract("epoch", end - start).cast(sa.Float)
    return (sa.func.julianday(end) - sa.func.julianday(start)) * 86400.0


def insert(conn: sa.Connection, table: sa.Table) -> Any:
    """Make an insert that knows ``ON CONFLICT``."""
    return postgresql.insert(table) if is_postgresql(conn) else sqlite.insert(table)


def json_type(column: sa.Column[Any]) -> str:
    """The type that a column has in PostgreSQL's ``json_to_recordset``. A cast to a bounded text would cut what is too
    long instead of refusing it."""
    if isinstance(column.type, sa.String):
        return "text"
    return column.type.compile(postgresql.dialect())  # type: ignore[no-untyped-call]


def fetch_on_postgresql(conn: sa.Connection, sql: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Run a statement of the driver's own text; its rows as the driver gives them. The driver is asked itself: to go
    through SQLAlchemy takes longer than a small statement. Raises PostgreSQL's errors as SQLAlchemy would, and leaves
    no connection in use that is lost or in doubt."""
    driver_error = conn.dialect.loaded_dbapi.Error
    cursor = conn.connection.cursor()
    try:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())
    except driver_error as error:
        lost = conn.dialect.is_disconnect(error, conn.connection.dbapi_connection, None)
        if lost:
            conn.invalidate(error)
        raise sa.exc.DBAPIError.instance(
            sql, None, error, driver_error, hide_parameters=True, connection_invalidated=lost
        ) from error
    except BaseException as error:
        if isinstance(error, OSError) or not isinstance(error, Exception):
            # No answer came, or nobody waited for it: perhaps a transaction has begun of which the adapter does not
            # know. All that came after would be part of it, and never be committed.
            conn.invalidate(error)
        raise


def sqlite_driver_of(connection: sa.PoolProxiedConnection) -> sqlite3.Connection:
    """The driver's own connection, of one of the pool."""
    return cast(sqlite3.Connection, connection.driver_connection)


def fetch_on_sqlite(
    conn: sa.Connection, sql: str, parameters: tuple[Any, ...], columns: Columns
) -> list[tuple[Any, ...]]:
    """Run a statement, and return its rows with each value as that of its column; JSON stays text, to be read into its
    own type."""
    driver = sqlite_driver_of(conn.connection)
    return _converted(_from_sqlite_all(columns, conn.dialect), driver.execute(sql, parameters).fetchall())


def write_on_sqlite(conn: sa.Connection, sql: str, columns: Columns, rows: Sequence[Sequence[Any]]) -> None:
    """Run a statement for each row. ``columns``: those of the values of a row, in the order of its placeholders."""
    driver = sqlite_driver_of(conn.connection)
    driver.executemany(sql, _converted(_to_sqlite_all(columns, conn.dialect), rows))


def _converted(converts: Sequence[Convert | None], rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Rows with each value that is not null converted as its column is."""
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
    for place, convert in enumerate(converts):
        if convert is not None and columns:
            columns[place] = [None if value is None else convert(value) for value in columns[place]]
    return list(zip(*columns, strict=True))


@lru_cache(maxsize=256)
def _to_sqlite_all(columns: Columns, sqlite_dialect: sa.Dialect) -> tuple[Convert | None, ...]:
    return tuple(_to_sqlite(column.type, sqlite_dialect) for column in columns)


@lru_cache(maxsize=256)
def _from_sqlite_all(columns: Columns, sqlite_dialect: sa.Dialect) -> tuple[Convert | None, ...]:
    return tuple(_from_sqlite(column.type, sqlite_dialect) for column in columns)


def _from_sqlite(type_: sa.types.TypeEngine[Any], sqlite_dialect: sa.Dialect) -> Convert | None:
    if isinstance(type_, UtcDateTime):
        return _time_of
    if isinstance(type_, sa.JSON):
        return None
    return type_.dialect_impl(sqlite_dialect).result_processor(sqlite_dialect, None)


def _to_sqlite(type_: sa.types.TypeEngine[Any], sqlite_dialect: sa.Dialect) -> Convert | None:
    if isinstance(type_, UtcDateTime):
        return _text_of
    if isinstance(type_, sa.JSON):
        return dumps
    return type_.dialect_impl(sqlite_dialect).bind_processor(sqlite_dialect)


def _text_of(at: datetime) -> str:
    """Format a time as SQLAlchemy does, at a fifth of its price: a row has a dozen."""
    if at.tzinfo is not UTC:
        if at.tzinfo is None:
            raise ValueError("a naive time cannot be stored")
        at = at.astimezone(UTC)
    return at.isoformat(" ", "microseconds")[:_TIME_CHARS]


def _time_of(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")
