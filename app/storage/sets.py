"""Sets of rows: read and written by statements that are compiled once, whatever the number of rows.

SQLAlchemy's Core says what a statement is; its text is made at first use, kept, and sent to the driver as it is. To
build, key and bind it again for every group of callbacks would cost several times what the database takes for it.
A set travels as JSON, with arrays beside it (PostgreSQL), or row by row (SQLite).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.storage import dialect
from app.storage.database import Conflicted
from app.storage.statements import (
    Change,
    Document,
    Guarded,
    Insert,
    Keys,
    Row,
    Select,
    T,
    Update,
    all_if,
    all_in_one,
    columns_of,
    document_of_sets,
    one_row,
    select_of_one,
    select_of_sets,
)


@dataclass(frozen=True, slots=True)
class _Compiled:
    """``order``: the parameters as the text has them. ``results``: what each column goes through."""

    sql: str
    order: tuple[str, ...]
    results: tuple[Callable[[Any], Any] | None, ...] = ()


_compiled: dict[tuple[Any, ...], _Compiled] = {}


def write(conn: sa.Connection, changes: Sequence[Change]) -> None:
    """Write several sets: one statement on PostgreSQL, where no two of them may touch the same row."""
    filled = [(statement, rows) for statement, rows in changes if rows]
    if not filled:
        return
    for (statement, rows), count in zip(filled, _written(conn, filled), strict=True):
        if statement.all_written and count != len(rows):
            raise Conflicted


def write_guarded(conn: sa.Connection, changes: Sequence[Change], guarded: Guarded) -> None:
    """Write several sets in the one statement that also holds them against a guard, on PostgreSQL: it needs no
    transaction around it. Raises ``Conflicted``, or the database's error where a row is in the way of one that must
    be written; then nothing is.

    A set without rows is part of it all the same, unless it is ``rare``. Each other mixture of sets would be another
    statement, which takes the loop some 20 ms to compile, and every connection about as long to plan."""
    guard, given = guarded
    kept = [(statement, rows) for statement, rows in changes if rows or not statement.rare]
    compiled = _compile(conn, (guard, *(statement for statement, _ in kept)), all_if)
    values = _parameters_of_all(kept) | dict(zip(guard.parameters, given, strict=True))
    values |= {f"e{place}": len(rows) for place, (statement, rows) in enumerate(kept) if statement.all_written}
    if not _fetch(conn, compiled, values)[0][0]:
        raise Conflicted


def insert(conn: sa.Connection, statement: Insert, rows: Sequence[Row]) -> int:
    """Insert one set. Returns how many rows were not there yet."""
    return _written(conn, [(statement, rows)])[0]


def select(conn: sa.Connection, statement: Select[T], **given: Keys) -> list[T]:
    """Read, in no order; ``given`` are the sets by their names, none of them empty or all."""
    compiled = _compile(conn, (statement,), select_of_sets)
    rows = _fetch(conn, compiled, _keys(conn, statement, given))
    if dialect.is_postgresql(conn):
        return statement.of_json(rows[0][0]) if rows[0][0] is not None else []
    return [statement.of_row(row) for row in rows]


def select_each(conn: sa.Connection, statement: Select[T], keys: Keys) -> list[T]:
    """As ``select``, of one set, key by key on SQLite: bytes cannot travel in JSON."""
    [(name, [column])] = statement.sets.items()
    if dialect.is_postgresql(conn):
        return select(conn, statement, **{name: keys})
    compiled = _compile(conn, (statement, column), select_of_one)
    return [statement.of_row(row) for key in keys for row in _fetch(conn, compiled, {column.key: key})]


def read_document(conn: sa.Connection, statement: Document[T], **given: Keys) -> T:
    """Read what the statement makes of the sets."""
    compiled = _compile(conn, (statement,), document_of_sets)
    return statement.of_json(_fetch(conn, compiled, _keys(conn, statement, given))[0][0])


def _keys(conn: sa.Connection, statement: Select[Any] | Document[Any], given: dict[str, Keys]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, columns in statement.sets.items():
        values |= dialect.set_parameters(conn, name, columns, given[name])
    return values


def _compile(conn: sa.Connection, key: tuple[Any, ...], build: Callable[..., Any]) -> _Compiled:
    """The compiled form of a statement, made once for each of the two databases."""
    full_key = (conn.dialect.name, build, *key)
    found = _compiled.get(full_key)
    if found is None:
        statement = build(conn, *key)
        compiled = statement.compile(dialect=conn.dialect)
        columns = getattr(statement, "exported_columns", ())
        results = tuple(dialect.from_driver(conn, column.type) for column in columns)
        found = _compiled[full_key] = _Compiled(str(compiled), tuple(compiled.positiontup or ()), results)
    return found


def _fetch(conn: sa.Connection, compiled: _Compiled, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    rows = dialect.fetch(conn, compiled.sql, tuple(values[name] for name in compiled.order))
    return dialect.converted(compiled.results, rows) if any(compiled.results) else rows


def _written(conn: sa.Connection, changes: Sequence[Change]) -> Sequence[int]:
    """Write sets, none of them empty; how many rows each wrote."""
    if dialect.is_postgresql(conn):
        return _write_at_once(conn, changes)
    return [_run_many(conn, statement, rows) for statement, rows in changes]


def _run_many(conn: sa.Connection, statement: Insert | Update, rows: Sequence[Row]) -> int:
    compiled = _compile(conn, (statement,), one_row)
    converts = dialect.to_driver(conn, columns_of(statement))
    # The order of the text is keys last in an UPDATE; a row has them first.
    places = [int(name.removeprefix("p")) for name in compiled.order]
    ordered = [tuple(row[place] for place in places) for row in dialect.converted(converts, rows)]
    return dialect.execute_many(conn, compiled.sql, ordered)


def _write_at_once(conn: sa.Connection, changes: Sequence[Change]) -> Sequence[int]:
    compiled = _compile(conn, tuple(statement for statement, _ in changes), all_in_one)
    return _fetch(conn, compiled, _parameters_of_all(changes))[0]


def _parameters_of_all(changes: Sequence[Change]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for place, (statement, rows) in enumerate(changes):
        values |= _parameters(statement, rows, f"s{place}")
    return values


def _parameters(statement: Insert | Update, rows: Sequence[Row], prefix: str) -> dict[str, Any]:
    return dialect.record_parameters(prefix, columns_of(statement), rows)
