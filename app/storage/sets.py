"""Sets of rows: read and written by statements that are compiled once, whatever the number of rows.

SQLAlchemy's Core says what a statement is; its text is made at first use, kept, and sent to the driver as it is. To
build, key and bind it again for every group of callbacks would cost several times what the database takes for it.
A set travels as JSON, with arrays beside it (PostgreSQL), or row by row (SQLite).
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from app.storage import dialect
from app.storage.database import Conflicted

T = TypeVar("T")
Row = Sequence[Any]
Keys = Sequence[Any]
"""Values of a set of one column; rows of a set of several."""


@dataclass(frozen=True, eq=False)
class Insert:
    """Insert rows of ``columns``. A row whose ``conflict`` columns are there already is left alone, or has ``add``
    added to it; without ``conflict`` it raises. ``all_written``: raises ``Conflicted`` if a row was there already.
    ``rare``: see ``write_guarded``."""

    table: sa.Table
    columns: tuple[str, ...]
    conflict: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    all_written: bool = False
    rare: bool = False


@dataclass(frozen=True, eq=False)
class Update:
    """Update the rows that ``keys`` find; a row of the set is the keys, the new values of ``columns``, and what is
    added to ``add``. ``all_written``: raises ``Conflicted`` if a row is not there. ``rare``: see ``write_guarded``."""

    table: sa.Table
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    add: tuple[str, ...] = ()
    all_written: bool = False
    rare: bool = False


@dataclass(frozen=True, eq=False)
class Select(Generic[T]):
    """Read by sets of keys. ``sets``: the columns of each by its name; ``build`` makes the statement from the sets,
    which are tables with the columns' keys. What it selects are ``columns``. ``of_json`` reads a JSON list of
    objects with the columns' keys, ``of_row`` one row: PostgreSQL writes the rows as one JSON text, which is read
    into our types sooner than the driver's rows would be."""

    sets: dict[str, tuple[sa.Column[Any], ...]]
    build: Callable[..., sa.Select[Any]]
    of_json: Callable[[str], list[T]]
    of_row: Callable[[Row], T]


@dataclass(frozen=True, eq=False)
class Document(Generic[T]):
    """Read by sets of keys, on PostgreSQL; as ``Select``, but the statement makes the one JSON text itself."""

    sets: dict[str, tuple[sa.Column[Any], ...]]
    build: Callable[..., sa.Select[Any]]
    of_json: Callable[[str], T]


@dataclass(frozen=True, eq=False)
class Guard:
    """What must be so, or a writing statement writes nothing, on PostgreSQL. ``build`` selects one boolean,
    ``holds``; ``parameters`` names what it has."""

    parameters: tuple[str, ...]
    build: Callable[[], sa.Select[Any]]


Change = tuple[Insert | Update, Sequence[Row]]
"""A statement and its rows."""
Guarded = tuple[Guard, Sequence[Any]]
"""A guard and the values of its parameters."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    """``order``: the parameters as the text has them. ``results``: what each column goes through."""

    sql: str
    order: tuple[str, ...]
    results: tuple[Callable[[Any], Any] | None, ...] = ()


_compiled: dict[tuple[Any, ...], _Compiled] = {}


def write(conn: sa.Connection, changes: Sequence[Change]) -> None:
    """Write several sets: one statement on PostgreSQL, where no two of them may touch the same row."""
    filled = _filled(changes)
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
    if _filled(changes):
        _write_guarded(conn, [(statement, rows) for statement, rows in changes if rows or not statement.rare], guarded)


def rehearse(conn: sa.Connection, changes: Sequence[Change], guarded: Guarded) -> None:
    """Have made what ``write_guarded`` needs on this connection; ``changes`` have no rows, and the guard does not
    hold."""
    with contextlib.suppress(Conflicted):
        _write_guarded(conn, [(statement, rows) for statement, rows in changes if not statement.rare], guarded)


def _write_guarded(conn: sa.Connection, changes: Sequence[Change], guarded: Guarded) -> None:
    guard, given = guarded
    compiled = _compile(conn, (guard, *(statement for statement, _ in changes)), _all_if)
    values = _parameters_of_all(changes) | dict(zip(guard.parameters, given, strict=True))
    values |= {f"e{place}": len(rows) for place, (statement, rows) in enumerate(changes) if statement.all_written}
    if not _fetch(conn, compiled, values)[0][0]:
        raise Conflicted


def _filled(changes: Sequence[Change]) -> list[Change]:
    return [(statement, rows) for statement, rows in changes if rows]


def insert(conn: sa.Connection, statement: Insert, rows: Sequence[Row]) -> int:
    """Insert one set. Returns how many rows were not there yet."""
    return _written(conn, [(statement, rows)])[0]


def select(conn: sa.Connection, statement: Select[T], **given: Keys) -> list[T]:
    """Read, in no order; ``given`` are the sets by their names, none of them empty or all."""
    compiled = _compile(conn, (statement,), _select_of_sets)
    rows = _fetch(conn, compiled, _keys(conn, statement, given))
    if dialect.is_postgresql(conn):
        return statement.of_json(rows[0][0]) if rows[0][0] is not None else []
    return [statement.of_row(row) for row in rows]


def select_each(conn: sa.Connection, statement: Select[T], keys: Keys) -> list[T]:
    """As ``select``, of one set, key by key on SQLite: bytes cannot travel in JSON."""
    [(name, [column])] = statement.sets.items()
    if dialect.is_postgresql(conn):
        return select(conn, statement, **{name: keys})
    compiled = _compile(conn, (statement, column), _select_of_one)
    return [statement.of_row(row) for key in keys for row in _fetch(conn, compiled, {column.key: key})]


def read_document(conn: sa.Connection, statement: Document[T], **given: Keys) -> T:
    """Read what the statement makes of the sets."""
    compiled = _compile(conn, (statement,), _document_of_sets)
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
    compiled = _compile(conn, (statement,), _one_row)
    converts = dialect.to_driver(conn, _columns(statement))
    # The order of the text is keys last in an UPDATE; a row has them first.
    places = [int(name.removeprefix("p")) for name in compiled.order]
    ordered = [tuple(row[place] for place in places) for row in dialect.converted(converts, rows)]
    return dialect.execute_many(conn, compiled.sql, ordered)


def _write_at_once(conn: sa.Connection, changes: Sequence[Change]) -> Sequence[int]:
    compiled = _compile(conn, tuple(statement for statement, _ in changes), _all_in_one)
    return _fetch(conn, compiled, _parameters_of_all(changes))[0]


def _parameters_of_all(changes: Sequence[Change]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for place, (statement, rows) in enumerate(changes):
        values |= _parameters(statement, rows, f"s{place}")
    return values


@lru_cache(maxsize=256)
def _columns(statement: Insert | Update) -> tuple[sa.Column[Any], ...]:
    """The columns of a row of the set."""
    names = (
        statement.columns if isinstance(statement, Insert) else (*statement.keys, *statement.columns, *statement.add)
    )
    return tuple(statement.table.c[name] for name in names)


def _parameters(statement: Insert | Update, rows: Sequence[Row], prefix: str) -> dict[str, Any]:
    return dialect.record_parameters(prefix, _columns(statement), rows)


def _given(statement: Insert | Update, prefix: str) -> dict[str, sa.ColumnElement[Any]]:
    """The rows of a set as the columns of a table."""
    return dialect.records(prefix, _columns(statement))


def _insert_of_set(conn: sa.Connection, statement: Insert, prefix: str, *only_if: Any) -> Any:
    rows = sa.select(*_given(statement, prefix).values()).where(*only_if)
    made = dialect.insert(conn, statement.table).from_select(list(statement.columns), rows)
    return _on_conflict(statement, made)


def _update_of_set(statement: Update, prefix: str, *only_if: Any) -> Any:
    table = statement.table
    given = _given(statement, prefix)
    matches = (table.c[name] == given[name] for name in statement.keys)
    return table.update().values(_news(statement, given)).where(*matches, *only_if)


def _one_row(conn: sa.Connection, statement: Insert | Update) -> Any:
    table = statement.table
    bound = {
        column.key: sa.bindparam(f"p{place}", type_=column.type) for place, column in enumerate(_columns(statement))
    }
    if isinstance(statement, Insert):
        return _on_conflict(statement, dialect.insert(conn, table).values(bound))
    matches = [table.c[name] == bound[name] for name in statement.keys]
    return table.update().where(*matches).values(_news(statement, bound))


def _news(statement: Update, given: dict[str, Any]) -> dict[sa.Column[Any], Any]:
    """What an update sets, by column."""
    table = statement.table
    added = {table.c[name]: table.c[name] + given[name] for name in statement.add}
    return {table.c[name]: given[name] for name in statement.columns} | added


def _on_conflict(statement: Insert, made: Any) -> Any:
    table = statement.table
    if statement.conflict:
        columns = [table.c[name] for name in statement.conflict]
        changes = {table.c[name]: table.c[name] + made.excluded[name] for name in statement.add}
        if changes:
            made = made.on_conflict_do_update(index_elements=columns, set_=changes)
        else:
            made = made.on_conflict_do_nothing(index_elements=columns)
    return made


def _all_in_one(conn: sa.Connection, *statements: Insert | Update) -> Any:
    """Each change as a common table expression of one statement, which tells how many rows each wrote."""
    counts = _counts(conn, statements)
    return sa.select(*(count.label(f"n{place}") for place, count in enumerate(counts)))


def _all_if(conn: sa.Connection, guard: Guard, *statements: Insert | Update) -> Any:
    """The same under a guard, which is looked at before anything is written. A count that is not as it must be fails
    the statement: it is over when its result is read."""
    holds = sa.select(guard.build().cte("guard").c.holds).scalar_subquery()
    counts = _counts(conn, statements, holds)
    expected = [
        count == sa.bindparam(f"e{place}", type_=sa.BigInteger)
        for place, (statement, count) in enumerate(zip(statements, counts, strict=True))
        if statement.all_written
    ]
    as_expected = sa.or_(sa.not_(holds), sa.and_(sa.true(), *expected))
    # Text that is no number, since no function raises. It is what the server's log says then.
    other: sa.ColumnElement[str] = sa.literal_column("'another has written these rows meanwhile'")
    checked = sa.cast(sa.case((as_expected, sa.literal_column("'1'")), else_=other), sa.Integer)
    # What is counted is also what makes the server carry all of it out.
    return sa.select(holds, checked, *counts)


def _counts(conn: sa.Connection, statements: Sequence[Insert | Update], *only_if: Any) -> list[Any]:
    """How many rows each statement wrote, each a common table expression."""
    counts = []
    for place, statement in enumerate(statements):
        prefix = f"s{place}"
        made = (
            _insert_of_set(conn, statement, prefix, *only_if)
            if isinstance(statement, Insert)
            else _update_of_set(statement, prefix, *only_if)
        )
        written = made.returning(sa.literal_column("1").label("one")).cte(f"w{place}")
        counts.append(sa.select(sa.func.count()).select_from(written).scalar_subquery())
    return counts


def _select_of_sets(conn: sa.Connection, statement: Select[Any]) -> Any:
    made = _document_of_sets(conn, statement)
    return dialect.as_json(made) if dialect.is_postgresql(conn) else made


def _select_of_one(_conn: sa.Connection, statement: Select[Any], column: sa.Column[Any]) -> Any:
    one = sa.bindparam(column.key, type_=column.type).label(column.key)
    return statement.build(sa.select(one).subquery("one"))


def _document_of_sets(conn: sa.Connection, statement: Select[Any] | Document[Any]) -> Any:
    return statement.build(*(dialect.set_table(conn, name, columns) for name, columns in statement.sets.items()))
