"""Claim questions to the vendor: items under leases, also before they are due where a client wants to know now.

What a permit to ask is spent on is decided by ``claim_in_turn``. Suspects (ids that the vendor did not know, or that
nobody has seen yet) and refreshes come in any number. Neither is given two permits in a row while something else is
due, however many of them wait: each is kept to half of the rate.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import items
from app.reconcile.due_items import ClaimedItem, ClaimTimes, claim_due, lease, lock_due, unleased
from app.rules.observation import ItemKey
from app.rules.schedule import SUSPECT
from app.tempolor.kinds import QUERY_BATCH

LastQueried = Mapping[ItemKey, datetime | None]
"""Items, each with when it was asked about last, as far as the asker knows."""


class Permit(StrEnum):
    """What a permit to ask was spent on."""

    DUE = "due"
    SUSPECTS = "suspects"
    REFRESH = "refresh"


def claim_in_turn(
    conn: sa.Connection, last: str | None, requested: LastQueried | None, times: ClaimTimes
) -> tuple[Permit, list[ClaimedItem]]:
    """Claim a question, and say what the permit was spent on; no items if there is nothing to ask. ``last``: what the
    permit before was spent on; ``requested``: see ``claim_requested``.

    A refresh whose turn it is not asks what is due instead, so that no permit is idle and none waits for a
    reconciler that does not run. Call it under the lock of the query limit.
    """
    if last in (Permit.SUSPECTS, Permit.REFRESH):
        claimed = claim_due(conn, times, but=SUSPECT)
        if claimed:
            return Permit.DUE, claimed
    if requested and last != Permit.REFRESH:
        return Permit.REFRESH, claim_requested(conn, requested, times)
    claimed = claim_due(conn, times)
    if requested and not claimed:
        return Permit.REFRESH, claim_requested(conn, requested, times)
    suspects = bool(claimed) and _is_suspect(conn, claimed[0].key)
    return Permit.SUSPECTS if suspects else Permit.DUE, claimed


def claim_requested(conn: sa.Connection, requested: LastQueried, times: ClaimTimes) -> list[ClaimedItem]:
    """Claim a full question about some of these items of one family, due or not: those of one group that are open,
    that nobody asks about, and that have had no answer since that of ``requested``; and others of their family and
    group that are soon due. Call it under the lock of the query limit, as every claim."""
    columns = (items.c.family, items.c.item_id, items.c.query_attempts, items.c.query_group, items.c.last_query_at)
    statement = (
        sa.select(*columns)
        .where(_named(conn, requested), items.c.query_due_at.is_not(None), unleased(times.now))
        .order_by(items.c.query_group, items.c.item_id)
    )
    rows = [row for row in conn.execute(dialect.locked(statement, of=items, skip=True)) if _is_open(row, requested)]
    if not rows:
        return []
    first = rows[0]
    rows = [row for row in rows if row.query_group == first.query_group][:QUERY_BATCH]
    claimed_by_key = {
        (row.family, row.item_id): ClaimedItem(row.family, row.item_id, row.query_attempts) for row in rows
    }
    for item in lock_due(conn, first.family, first.query_group, times):
        if len(claimed_by_key) < QUERY_BATCH:
            claimed_by_key.setdefault(item.key, item)
    lease(conn, claimed_by_key, times.leased_until)
    return list(claimed_by_key.values())


def unanswered(conn: sa.Connection, last_queried: LastQueried) -> set[ItemKey]:
    """Read which of some items of one family are open, and have had no answer since that of ``last_queried``."""
    statement = sa.select(items.c.family, items.c.item_id, items.c.last_query_at).where(
        _named(conn, last_queried), items.c.query_due_at.is_not(None)
    )
    return {(row.family, row.item_id) for row in conn.execute(statement) if _is_open(row, last_queried)}


def _is_suspect(conn: sa.Connection, key: ItemKey) -> bool:
    """Whether an item is asked about among suspects."""
    family, item_id = key
    matches = sa.and_(items.c.family == family, items.c.item_id == item_id)
    return conn.scalar(sa.select(items.c.query_group).where(matches)) == SUSPECT


def _is_open(row: Any, last_queried: LastQueried) -> bool:
    """Whether nobody has answered about the item meanwhile."""
    return bool(row.last_query_at == last_queried[(row.family, row.item_id)])


def _named(conn: sa.Connection, keys: Collection[ItemKey]) -> sa.ColumnElement[Any]:
    """Items of one family by their keys."""
    [family] = {family for family, _ in keys}
    item_ids = sorted(item_id for _, item_id in keys)
    return sa.and_(items.c.family == family, dialect.any_of(conn, items.c.item_id, item_ids))
