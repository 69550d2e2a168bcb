"""Limits shared by all replicas: a row's lock is the permit to decide. Locked before anything else."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from app.database import dialect
from app.database.tables import limits
from app.limits.hold import HoldState
from app.rules.downtime import Availability


class Limit(StrEnum):
    """The limits, in the order in which they are locked."""

    QUERY = "query"
    SUBMIT = "submit"


@dataclass(frozen=True, slots=True)
class LimitState:
    """The state of one limit. ``not_before_at``: the next time that a query may be made (queries only).
    ``last_client``: whose turn to submit came last (submissions only). ``last_permit``: what the last query was spent
    on; ``availability``: since when and with which breaks the vendor could be asked (queries only)."""

    hold_state: HoldState
    not_before_at: datetime | None = None
    last_client: str | None = None
    last_permit: str | None = None
    availability: Availability = field(default_factory=Availability)


# Built once: every loop executes them, at each look.
_READ: Final = sa.select(limits)
_LOCK_ONE: Final = dialect.locked(_READ.where(limits.c.name == sa.bindparam("limit")), of=limits, skip=False)
_LOCK_ALL: Final = dialect.locked(_READ.order_by(limits.c.name), of=limits, skip=False)
_SAVE: Final = limits.update().where(limits.c.name == sa.bindparam("limit"))


def lock_one(conn: sa.Connection, name: Limit) -> LimitState:
    """Lock one limit."""
    row = conn.execute(_LOCK_ONE, {"limit": name.value}).one()
    return load(row.state, row.not_before_at)


def lock_all(conn: sa.Connection) -> dict[Limit, LimitState]:
    """Lock all limits, in their order."""
    return {Limit(row.name): load(row.state, row.not_before_at) for row in conn.execute(_LOCK_ALL)}


def read(conn: sa.Connection) -> dict[Limit, LimitState]:
    """All limits, without locks."""
    return {Limit(row.name): load(row.state, row.not_before_at) for row in conn.execute(_READ)}


def save(conn: sa.Connection, name: Limit, state: LimitState) -> None:
    """Write a locked limit."""
    conn.execute(_SAVE, {"limit": name.value, "not_before_at": state.not_before_at, "state": dump(state)})


def save_hold(conn: sa.Connection, name: Limit, before: LimitState, hold_state: HoldState) -> None:
    """Write the hold of a locked limit, if it has changed."""
    if hold_state != before.hold_state:
        save(conn, name, replace(before, hold_state=hold_state))


def dump(state: LimitState) -> dict[str, Any]:
    """The JSON document of a limit: all but ``not_before_at``, which has a column."""
    document: dict[str, Any] = msgspec.to_builtins(state.hold_state)
    document |= {"last_client": state.last_client, "last_permit": state.last_permit}
    return document | {"operating": msgspec.to_builtins(state.availability)}


def load(document: dict[str, Any], not_before_at: datetime | None) -> LimitState:
    """From JSON; an empty object is a limit that nothing has happened to."""
    return LimitState(
        msgspec.convert(document, HoldState),
        not_before_at,
        document.get("last_client"),
        document.get("last_permit"),
        msgspec.convert(document.get("operating") or {}, Availability),
    )
