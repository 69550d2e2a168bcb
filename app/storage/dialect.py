"""Where the two databases differ: how a set travels, and the lock clause. Nothing else may ask which one it is."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from app.storage.database import dumps
from app.storage.tables import UtcDateTime

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
    """``column`` is one of the values: an array on PostgreSQL, so that any number of them is one prepared statement."""
    if is_postgresql(conn):
        return column == sa.any_(sa.literal(list(values), postgresql.ARRAY(column.type)))
    return column.in_(values)


def insert(conn: sa.Connection, table: sa.Table) -> Any:
    """An insert that knows ``ON CONFLICT``."""
    return postgresql.insert(table) if is_postgresql(conn) else sqlite.insert(table)


_PLACE: Final = "g_place"


def records(prefix: str, columns: Columns) -> dict[str, sa.ColumnElement[Any]]:
    """One JSON text as the columns of a table, by column key; its values are ``record_parameters``. The driver takes
    longer to bind an array for each column than PostgreSQL to read the JSON. Bytes cannot travel so, and JSON would
    be parsed three times: such a column has an array of its own, which each row reads at its place."""
    names = [sa.column(column.key, _element(column)) for column in columns if not _is_apart(column)]
    names.append(sa.column(_PLACE, sa.Integer()))
    text = sa.cast(sa.bindparam(prefix, type_=sa.Text), sa.JSON)
    given = sa.func.json_to_recordset(text).table_valued(*names, name=f"{prefix}_given")
    derived = given.render_derived(with_types=True)

    def value_of(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        if not _is_apart(column):
            return derived.c[column.key]
        array = sa.bindparam(f"{prefix}_{column.key}", type_=postgresql.ARRAY(_element(column)))
        # In brackets, or the index would belong to the cast that is written behind the parameter.
        one = sa.sql.elements.Grouping(array)[derived.c[_PLACE]]
        return sa.cast(one, column.type) if _is_json(column) else one

    return {column.key: value_of(column) for column in columns}


def record_parameters(prefix: str, columns: Columns, rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Rows as the JSON and the arrays of ``records``."""
    if not rows:
        return _no_rows(prefix, columns)
    names, plain, apart = _layout(columns)
    texts = [dict(zip(names, (number, *plain(row)), strict=True)) for number, row in enumerate(rows, start=1)]
    found: dict[str, Any] = {prefix: dumps(texts)}
    for name, place, is_json in apart:
        values = [row[place] for row in rows]
        found[f"{prefix}_{name}"] = [_dumped(value) for value in values] if is_json else values
    return found


@lru_cache(maxsize=256)
def _no_rows(prefix: str, columns: tuple[sa.Column[Any], ...]) -> dict[str, Any]:
    return {prefix: "[]"} | {f"{prefix}_{name}": [] for name, _, _ in _layout(columns)[2]}


@lru_cache(maxsize=256)
def _layout(
    columns: tuple[sa.Column[Any], ...],
) -> tuple[tuple[str, ...], Callable[[Sequence[Any]], tuple[Any, ...]], list[tuple[str, int, bool]]]:
    """The names of what travels in the JSON of a row, what takes it out of the row; and the columns apart from it."""
    plain = [place for place, column in enumerate(columns) if not _is_apart(column)]
    apart = [(column.key, place, _is_json(column)) for place, column in enumerate(columns) if _is_apart(column)]
    pick = itemgetter(*plain) if len(plain) > 1 else lambda row: tuple(row[place] for place in plain)
    return (_PLACE, *(columns[place].key for place in plain)), pick, apart


def set_table(conn: sa.Connection, name: str, columns: Columns) -> sa.FromClause:
    """A set of keys as a table with the columns' keys; its values are ``set_parameters``."""
    if is_postgresql(conn):
        given = records(name, columns)
        return sa.select(*(value.label(key) for key, value in given.items())).subquery(f"{name}_set")
    each = sa.func.json_each(sa.bindparam(name, type_=sa.Text)).table_valued("value", name=f"{name}_each")
    if len(columns) == 1:
        return sa.select(_typed(each.c.value, columns[0]).label(columns[0].key)).subquery(f"{name}_set")
    parts = [
        _typed(sa.func.json_extract(each.c.value, sa.literal_column(f"'$[{place}]'")), column).label(column.key)
        for place, column in enumerate(columns)
    ]
    return sa.select(*parts).subquery(f"{name}_set")


def as_json(statement: sa.Select[Any]) -> sa.Select[Any]:
    """The rows of a statement as one JSON list of objects, null where there is none."""
    found = statement.cte("found")
    whole_row = sa.literal_column("found", sa.JSON)
    return sa.select(sa.cast(sa.func.json_agg(whole_row), sa.Text)).select_from(found)


def set_parameters(conn: sa.Connection, name: str, columns: Columns, keys: Sequence[Any]) -> dict[str, Any]:
    """The values of a set: rows, or plain values where it has one column."""
    rows = [(key,) for key in keys] if len(columns) == 1 else keys
    if is_postgresql(conn):
        return record_parameters(name, columns, rows)
    plain = converted(to_driver(conn, columns), rows)
    return {name: dumps([row[0] for row in plain] if len(columns) == 1 else plain)}


def fetch(conn: sa.Connection, sql: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Run a statement of the driver's own text; its rows as the driver gives them. The driver is asked itself: to go
    through SQLAlchemy takes longer than a small statement. Raises PostgreSQL's errors as SQLAlchemy would, and leaves
    no connection in use that is lost or in doubt."""
    if not is_postgresql(conn):
        return _sqlite_driver(conn).execute(sql, parameters).fetchall()
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


def execute_many(conn: sa.Connection, sql: str, rows: Sequence[tuple[Any, ...]]) -> int:
    """Run a statement for each row, on SQLite. Returns how many rows it wrote."""
    return _sqlite_driver(conn).executemany(sql, rows).rowcount


def _sqlite_driver(conn: sa.Connection) -> sqlite3.Connection:
    return cast(sqlite3.Connection, conn.connection.driver_connection)


def to_driver(conn: sa.Connection, columns: Columns) -> Sequence[Convert | None]:
    """What turns a value of each column into the driver's."""
    return _to_sqlite_all(columns, conn.dialect)


def from_driver(conn: sa.Connection, type_: sa.types.TypeEngine[Any]) -> Convert | None:
    """What turns the driver's value into ours; PostgreSQL's driver gives ours as they are."""
    if is_postgresql(conn):
        return None
    if isinstance(type_, UtcDateTime):
        return _time_of
    if isinstance(type_, sa.JSON):
        return None  # as text, to be read into its own type
    return type_.dialect_impl(conn.dialect).result_processor(conn.dialect, None)


def converted(converts: Sequence[Convert | None], rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Rows with each value that is not null gone through what is given for its column."""
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
    for place, convert in enumerate(converts):
        if convert is not None and columns:
            columns[place] = [None if value is None else convert(value) for value in columns[place]]
    return list(zip(*columns, strict=True))


@lru_cache(maxsize=256)
def _to_sqlite_all(columns: tuple[sa.Column[Any], ...], sqlite_dialect: sa.Dialect) -> tuple[Convert | None, ...]:
    return tuple(_to_sqlite(column.type, sqlite_dialect) for column in columns)


def _to_sqlite(type_: sa.types.TypeEngine[Any], sqlite_dialect: sa.Dialect) -> Convert | None:
    if isinstance(type_, UtcDateTime):
        return _text_of
    if isinstance(type_, sa.JSON):
        return dumps
    return type_.dialect_impl(sqlite_dialect).bind_processor(sqlite_dialect)


def _text_of(at: datetime) -> str:
    """As SQLAlchemy writes a time, at a fifth of its price: a row has a dozen."""
    if at.tzinfo is not UTC:
        if at.tzinfo is None:
            raise ValueError("a naive time cannot be stored")
        at = at.astimezone(UTC)
    return at.isoformat(" ", "microseconds")[:_TIME_CHARS]


def _time_of(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


def _typed(value: sa.ColumnElement[Any], column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    return sa.type_coerce(value, column.type)


def _element(column: sa.Column[Any]) -> sa.types.TypeEngine[Any]:
    # A cast to a bounded text would cut what is too long instead of refusing it.
    return sa.Text() if isinstance(column.type, (sa.JSON, sa.String)) else column.type


def _is_apart(column: sa.Column[Any]) -> bool:
    """Whether the values of a column do not travel in the JSON of their rows."""
    return isinstance(column.type, (sa.JSON, sa.LargeBinary))


def _is_json(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, sa.JSON)


def _dumped(value: Any) -> str | None:
    return None if value is None else dumps(value)
