"""Store the circuit breakers of kinds and models: a bounded number of rows, read and written under the lock of the
limit of submissions."""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import model_breakers
from app.limits.model_breaker import Breaker, ModelKey

MOST: Final = 100
"""Kinds and models. Clients name models freely, so those that were refused longest ago are forgotten, and before any
that holds tasks those that hold none."""

_VALUES: Final = ("refusals", "touched_at", "code", "detail", "held_since", "probe_at", "probe_until")


# Built once: every outcome of a submission executes one of them.
_IS: Final = sa.and_(model_breakers.c.kind == sa.bindparam("kind"), model_breakers.c.model == sa.bindparam("model"))
"""By a ``ModelKey``."""
_ONE: Final = sa.select(model_breakers).where(_IS)
_DELETE: Final = model_breakers.delete().where(_IS)
_COUNT: Final = sa.select(sa.func.count()).select_from(model_breakers)


def find(conn: sa.Connection, key: ModelKey) -> Breaker | None:
    """Read the breaker of one kind and model; None if nothing is counted of it."""
    row = conn.execute(_ONE, key._asdict()).one_or_none()
    return _breaker(row) if row else None


_HELD: Final = (
    sa.select(model_breakers)
    .where(model_breakers.c.held_since.is_not(None))
    .order_by(model_breakers.c.held_since, model_breakers.c.kind, model_breakers.c.model)
)


def find_open(conn: sa.Connection) -> dict[ModelKey, Breaker]:
    """Read the open breakers, at most ``MOST``, those that opened first before the others."""
    return {ModelKey(row.kind, row.model): _breaker(row) for row in conn.execute(_HELD)}


def save(conn: sa.Connection, key: ModelKey, breaker: Breaker | None) -> None:
    """Write a breaker, or delete it (None)."""
    if breaker is None:
        conn.execute(_DELETE, key._asdict())
        return
    row = key._asdict() | {name: getattr(breaker, name) for name in _VALUES}
    statement = dialect.insert(conn, model_breakers)
    changes = {name: statement.excluded[name] for name in _VALUES}
    conn.execute(statement.on_conflict_do_update(index_elements=["kind", "model"], set_=changes), row)
    _forget_the_oldest(conn)


def forget_all(conn: sa.Connection) -> Mapping[ModelKey, Breaker]:
    """Close all breakers; returns those that were open."""
    open_before = find_open(conn)
    conn.execute(model_breakers.delete())
    return open_before


def _forget_the_oldest(conn: sa.Connection) -> None:
    columns = model_breakers.c
    if (conn.scalar(_COUNT) or 0) <= MOST:
        return
    order = (columns.held_since.is_not(None).desc(), columns.touched_at.desc())
    for row in conn.execute(sa.select(columns.kind, columns.model).order_by(*order).offset(MOST)).all():
        conn.execute(_DELETE, {"kind": row.kind, "model": row.model})


def _breaker(row: Any) -> Breaker:
    return Breaker(**{name: getattr(row, name) for name in _VALUES})
