"""What a set statement is: rows of one table inserted or updated, or rows read, by a set of values or keys; and how it
is said in SQLAlchemy's Core. ``sets`` compiles and runs it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from app.storage import dialect

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


@lru_cache(maxsize=256)
def columns_of(statement: Insert | Update) -> tuple[sa.Column[Any], ...]:
    """The columns of a row of the set."""
    names = (
        statement.columns if isinstance(statement, Insert) else (*statement.keys, *statement.columns, *statement.add)
    )
    return tuple(statement.table.c[name] for name in names)


def _given(statement: Insert | Update, prefix: str) -> dict[str, sa.ColumnElement[Any]]:
    """The rows of a set as the columns of a table."""
    return dialect.records(prefix, columns_of(statement))


def _insert_of_set(conn: sa.Connection, statement: Insert, prefix: str, *only_if: Any) -> Any:
    rows = sa.select(*_given(statement, prefix).values()).where(*only_if)
    made = dialect.insert(conn, statement.table).from_select(list(statement.columns), rows)
    return _on_conflict(statement, made)


def _update_of_set(statement: Update, prefix: str, *only_if: Any) -> Any:
    table = statement.table
    given = _given(statement, prefix)
    matches = (table.c[name] == given[name] for name in statement.keys)
    return table.update().values(_news(statement, given)).where(*matches, *only_if)


def one_row(conn: sa.Connection, statement: Insert | Update) -> Any:
    table = statement.table
    bound = {
        column.key: sa.bindparam(f"p{place}", type_=column.type) for place, column in enumerate(columns_of(statement))
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


def all_in_one(conn: sa.Connection, *statements: Insert | Update) -> Any:
    """Each change as a common table expression of one statement, which tells how many rows each wrote."""
    counts = _counts(conn, statements)
    return sa.select(*(count.label(f"n{place}") for place, count in enumerate(counts)))


def all_if(conn: sa.Connection, guard: Guard, *statements: Insert | Update) -> Any:
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


def select_of_sets(conn: sa.Connection, statement: Select[Any]) -> Any:
    made = document_of_sets(conn, statement)
    return dialect.as_json(made) if dialect.is_postgresql(conn) else made


def select_of_one(_conn: sa.Connection, statement: Select[Any], column: sa.Column[Any]) -> Any:
    one = sa.bindparam(column.key, type_=column.type).label(column.key)
    return statement.build(sa.select(one).subquery("one"))


def document_of_sets(conn: sa.Connection, statement: Select[Any] | Document[Any]) -> Any:
    return statement.build(*(dialect.set_table(conn, name, columns) for name, columns in statement.sets.items()))
