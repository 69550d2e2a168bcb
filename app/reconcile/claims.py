"""Claim questions to the vendor, within the rate and the hold: items under leases, also before they are due where a
client wants to know now.

What a permit to ask is spent on is decided by ``claim_in_turn``. Suspects (ids that the vendor did not know, or that
nobody has seen yet) and refreshes come in any number. Neither is given two permits in a row while something else is
due, however many of them wait: each is kept to half of the rate.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, Final

import sqlalchemy as sa

from app.app_context import Context
from app.database import dialect
from app.database.tables import items
from app.limits import hold as holds
from app.limits import shared_limits
from app.limits.hold import Hold
from app.limits.shared_limits import Limit
from app.rules.observation import ItemKey
from app.rules.schedule import SUSPECT
from app.rules.times import later
from app.tempolor.kinds import QUERY_BATCH

LastQueried = Mapping[ItemKey, datetime | None]
"""Items, each with when it was asked about last, as far as the asker knows."""


@dataclass(frozen=True, slots=True)
class ClaimedItem:
    """An item that was claimed for a question. ``attempts``: questions since the vendor last sent news of it.
    ``group``: see ``query_group``."""

    family: str
    item_id: str
    attempts: int
    group: str = ""

    @property
    def key(self) -> ItemKey:
        return (self.family, self.item_id)


@dataclass(frozen=True, slots=True)
class ClaimTimes:
    """The times of a claim: what is due by ``now`` is asked about, and the call filled with what is due by
    ``soon``."""

    now: datetime
    soon: datetime
    leased_until: datetime


@dataclass(frozen=True, slots=True)
class Question:
    """Items of one family, claimed until ``leased_until``."""

    family: str
    items: tuple[ClaimedItem, ...]
    asked_at: datetime
    leased_until: datetime


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """The result of a claim: a question, or how many seconds until one may be claimed (None: nothing is due). ``held``:
    why none may be."""

    question: Question | None
    wait_s: float | None = None
    held: Hold | None = None


class Permit(StrEnum):
    """What a permit to ask was spent on."""

    DUE = "due"
    SUSPECTS = "suspects"
    REFRESH = "refresh"


def claim(conn: sa.Connection, context: Context, now: datetime, requested: LastQueried | None = None) -> ClaimResult:
    """Claim a question, if the rate and the hold allow one and something is due; or one about the items that
    are ``requested`` (of one family), due or not, unless it is the turn of what is due (see ``claim_in_turn``).

    The lock on the limit's row makes all of it one decision: the rate, full calls, and no idle permits.
    """
    limit = shared_limits.lock_one(conn, Limit.QUERY)
    if holds.allowed(limit.hold_state, now, 0) == 0:
        return ClaimResult(None, held=limit.hold_state.hold)
    if limit.not_before_at is not None and limit.not_before_at > now:
        return ClaimResult(None, (limit.not_before_at - now).total_seconds())
    policy = context.policy
    times = ClaimTimes(now, soon=later(now, policy.interval_s / 5), leased_until=later(now, policy.lease_s))
    permit, claimed = claim_in_turn(conn, limit.last_permit, requested, times)
    if not claimed:
        return ClaimResult(None)
    hold_state = holds.probing(limit.hold_state, times.leased_until)
    not_before_at = later(now, 1 / policy.query_rate_per_s)
    shared_limits.save(
        conn, Limit.QUERY, replace(limit, hold_state=hold_state, not_before_at=not_before_at, last_permit=permit)
    )
    return ClaimResult(Question(claimed[0].family, tuple(claimed), now, times.leased_until))


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
    return Permit.SUSPECTS if claimed and claimed[0].group == SUSPECT else Permit.DUE, claimed


@cache
def _most_overdue(but: str | None) -> sa.Select[str, str]:
    due = items.c.query_due_at <= sa.bindparam("now")
    if but is not None:
        due = sa.and_(due, items.c.query_group != but)
    first = sa.select(items.c.family, items.c.query_group).where(due).order_by(items.c.query_due_at).limit(1)
    return dialect.locked(first, of=items, skip=True)


def claim_due(conn: sa.Connection, times: ClaimTimes, *, but: str | None = None) -> list[ClaimedItem]:
    """Claim a full question: the item that is most overdue, and others of its family and group that are soon due;
    none of the group ``but``. Call it under the lock of the query limit, so that no two claims see the same rows."""
    first = conn.execute(_most_overdue(but), {"now": times.now}).one_or_none()
    if first is None:
        return []
    claimed = _lock_due(conn, first.family, first.query_group, times)
    lease(conn, [item.key for item in claimed], times.leased_until)
    return claimed


def _lock_due(conn: sa.Connection, family: str, query_group: str, times: ClaimTimes) -> list[ClaimedItem]:
    """Lock the items of a family and group that are soon due and that nobody asks about, as many as one question takes,
    the most overdue first; those that another transaction holds are passed over."""
    statement = (
        sa.select(items.c.family, items.c.item_id, items.c.query_attempts)
        .where(
            items.c.family == family,
            items.c.query_group == query_group,
            items.c.query_due_at <= times.soon,
            # One that is being asked about comes within reach of a long ``soon`` before its lease has ended.
            _unleased(times.now),
        )
        .order_by(items.c.query_due_at)
        .limit(QUERY_BATCH)
    )
    rows = conn.execute(dialect.locked(statement, of=items, skip=True))
    return [ClaimedItem(row.family, row.item_id, row.query_attempts, query_group) for row in rows]


def claim_requested(conn: sa.Connection, requested: LastQueried, times: ClaimTimes) -> list[ClaimedItem]:
    """Claim a full question about some of these items of one family, due or not: those of one group that are open,
    that nobody asks about, and that have had no answer since that of ``requested``; and others of their family and
    group that are soon due. Call it under the lock of the query limit, as every claim."""
    columns = (items.c.family, items.c.item_id, items.c.query_attempts, items.c.query_group, items.c.last_query_at)
    statement = (
        sa.select(*columns)
        .where(_named(conn, requested), items.c.query_due_at.is_not(None), _unleased(times.now))
        .order_by(items.c.query_group, items.c.item_id)
    )
    rows = [row for row in conn.execute(dialect.locked(statement, of=items, skip=True)) if _is_open(row, requested)]
    if not rows:
        return []
    first = rows[0]
    rows = [row for row in rows if row.query_group == first.query_group][:QUERY_BATCH]
    claimed_by_key = {
        (row.family, row.item_id): ClaimedItem(row.family, row.item_id, row.query_attempts, row.query_group)
        for row in rows
    }
    for item in _lock_due(conn, first.family, first.query_group, times):
        if len(claimed_by_key) < QUERY_BATCH:
            claimed_by_key.setdefault(item.key, item)
    lease(conn, claimed_by_key, times.leased_until)
    return list(claimed_by_key.values())


_LEASE: Final = (
    items.update()
    .where(items.c.family == sa.bindparam("its_family"), items.c.item_id == sa.bindparam("its_id"))
    .values(query_due_at=sa.bindparam("until"), query_leased_until=sa.bindparam("until"))
)


def _unleased(now: datetime) -> sa.ColumnElement[bool]:
    """The condition that nobody asks about the item now."""
    return sa.or_(items.c.query_leased_until.is_(None), items.c.query_leased_until <= now)


def lease(conn: sa.Connection, keys: Iterable[ItemKey], until: datetime) -> None:
    """Take items out of the due range until the lease ends."""
    rows = [{"its_family": family, "its_id": item_id, "until": until} for family, item_id in sorted(keys)]
    if rows:
        conn.execute(_LEASE, rows)


def unanswered(conn: sa.Connection, last_queried: LastQueried) -> set[ItemKey]:
    """Read which of some items of one family are open, and have had no answer since that of ``last_queried``."""
    statement = sa.select(items.c.family, items.c.item_id, items.c.last_query_at).where(
        _named(conn, last_queried), items.c.query_due_at.is_not(None)
    )
    return {(row.family, row.item_id) for row in conn.execute(statement) if _is_open(row, last_queried)}


def _is_open(row: Any, last_queried: LastQueried) -> bool:
    """Whether nobody has answered about the item meanwhile."""
    return bool(row.last_query_at == last_queried[(row.family, row.item_id)])


def _named(conn: sa.Connection, keys: Collection[ItemKey]) -> sa.ColumnElement[Any]:
    """Items of one family by their keys."""
    [family] = {family for family, _ in keys}
    item_ids = sorted(item_id for _, item_id in keys)
    return sa.and_(items.c.family == family, dialect.any_of(conn, items.c.item_id, item_ids))
