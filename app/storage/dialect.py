"""Where the two databases differ: sets of rows, and the lock clause. Nothing else may ask which one it is."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from app.storage.database import dumps

Rows = Sequence[dict[str, Any]]


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


def keys_in(conn: sa.Connection, columns: Sequence[sa.Column[Any]], keys: Sequence[tuple[Any, ...]]) -> Any:
    """A composite key is one of ``keys``."""
    if is_postgresql(conn):
        given = _unnest(columns, [[key[i] for key in keys] for i in range(len(columns))])
        return sa.tuple_(*columns).in_(sa.select(*given.values()))
    return sa.tuple_(*columns).in_(keys)


def insert_rows(
    conn: sa.Connection,
    table: sa.Table,
    rows: Rows,
    *,
    conflict: Sequence[str] = (),
    update: dict[str, Any] | None = None,
    returning: Sequence[sa.Column[Any]] = (),
) -> list[Any]:
    """Insert a set of rows in one statement. All rows have the same keys (column keys of the table).

    ``conflict``: the unique columns; a row that is there already is left alone, or changed by ``update``
    (column key → expression of the old row and ``excluded(table)``). Without ``conflict`` a repeat raises.
    """
    if not rows:
        return []
    names = tuple(rows[0])
    if is_postgresql(conn):
        given = _unnest([table.c[name] for name in names], [[row[name] for row in rows] for name in names])
        statement: Any = postgresql.insert(table).from_select(list(names), sa.select(*given.values()))
    else:
        statement = sqlite.insert(table)
    if conflict:
        columns = [table.c[name] for name in conflict]
        if update:
            statement = statement.on_conflict_do_update(index_elements=columns, set_=_by_name(table, update))
        else:
            statement = statement.on_conflict_do_nothing(index_elements=columns)
    if returning:
        statement = statement.returning(*returning)
    result = conn.execute(statement) if is_postgresql(conn) else conn.execute(statement, list(rows))
    return list(result.all()) if returning else []


def update_rows(conn: sa.Connection, table: sa.Table, keys: Sequence[str], rows: Rows) -> None:
    """Update a set of rows, each found by its ``keys``; the other entries of a row are its new values."""
    if not rows:
        return
    names = tuple(rows[0])
    values = [name for name in names if name not in keys]
    if is_postgresql(conn):
        given = _unnest([table.c[name] for name in names], [[row[name] for row in rows] for name in names])
        statement = (
            table.update()
            .values({table.c[name]: given[name] for name in values})
            .where(*(table.c[name] == given[name] for name in keys))
        )
        conn.execute(statement)
        return
    matches = [table.c[name] == sa.bindparam(f"k_{name}", type_=table.c[name].type) for name in keys]
    changes = {table.c[name]: sa.bindparam(f"v_{name}", type_=table.c[name].type) for name in values}
    given_rows = [
        {f"k_{name}": row[name] for name in keys} | {f"v_{name}": row[name] for name in values} for row in rows
    ]
    conn.execute(table.update().where(*matches).values(changes), given_rows)


def excluded(conn: sa.Connection, table: sa.Table, name: str) -> sa.ColumnElement[Any]:
    """The value that an insert proposed, inside ``update`` of ``insert_rows``."""
    return sa.literal_column(f"excluded.{_quoted(conn, table.c[name].name)}", table.c[name].type)


def _quoted(conn: sa.Connection, name: str) -> str:
    return conn.dialect.identifier_preparer.quote(name)


def _by_name(table: sa.Table, values: dict[str, Any]) -> dict[Any, Any]:
    return {table.c[name]: value for name, value in values.items()}


def _unnest(columns: Sequence[sa.Column[Any]], arrays: Sequence[list[Any]]) -> dict[str, sa.ColumnElement[Any]]:
    """Arrays as the columns of one table, by column key."""
    types = [sa.Text() if _is_json(column) else column.type for column in columns]
    bound = [
        # JSON travels as text: a list in an array of JSON would be taken for one more dimension of the array.
        sa.literal([_dumped(value) for value in values] if _is_json(column) else values, postgresql.ARRAY(type_))
        for column, type_, values in zip(columns, types, arrays, strict=True)
    ]
    names = [sa.column(f"g_{column.key}", type_) for column, type_ in zip(columns, types, strict=True)]
    given = sa.func.unnest(*bound).table_valued(*names, name="given").render_derived()
    return {
        column.key: sa.cast(given.c[name.name], column.type) if _is_json(column) else given.c[name.name]
        for column, name in zip(columns, names, strict=True)
    }


def _is_json(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, sa.JSON)


def _dumped(value: Any) -> str | None:
    return None if value is None else dumps(value)
