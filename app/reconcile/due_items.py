"""The questions that items are due for: claimed under leases, postponed, put off and brought forward."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Final

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import items
from app.rules.observation import ItemKey
from app.rules.status import ITEM_FINAL
from app.rules.times import FAR
from app.tasks import state_store
from app.tempolor.kinds import QUERY_BATCH

_FINAL: Final = [status.value for status in ITEM_FINAL]


@dataclass(frozen=True, slots=True)
class ClaimedItem:
    """An item that was claimed for a question. ``attempts``: questions since the vendor last sent news of it."""

    family: str
    item_id: str
    attempts: int

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
class Postponed:
    """A question that was not answered: when to ask again, and with whom (see ``query_group``)."""

    key: ItemKey
    due_at: datetime
    group: str
    attempts: int


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
    claimed = lock_due(conn, first.family, first.query_group, times)
    lease(conn, [item.key for item in claimed], times.leased_until)
    return claimed


def lock_due(conn: sa.Connection, family: str, query_group: str, times: ClaimTimes) -> list[ClaimedItem]:
    """Lock the items of a family and group that are soon due and that nobody asks about, as many as one question takes,
    the most overdue first; those that another transaction holds are passed over."""
    statement = (
        sa.select(items.c.family, items.c.item_id, items.c.query_attempts)
        .where(
            items.c.family == family,
            items.c.query_group == query_group,
            items.c.query_due_at <= times.soon,
            # One that is being asked about comes within reach of a long ``soon`` before its lease has ended.
            unleased(times.now),
        )
        .order_by(items.c.query_due_at)
        .limit(QUERY_BATCH)
    )
    rows = conn.execute(dialect.locked(statement, of=items, skip=True))
    return [ClaimedItem(row.family, row.item_id, row.query_attempts) for row in rows]


_LEASE: Final = (
    items.update()
    .where(items.c.family == sa.bindparam("its_family"), items.c.item_id == sa.bindparam("its_id"))
    .values(query_due_at=sa.bindparam("until"), query_leased_until=sa.bindparam("until"))
)


def unleased(now: datetime) -> sa.ColumnElement[bool]:
    """The condition that nobody asks about the item now."""
    return sa.or_(items.c.query_leased_until.is_(None), items.c.query_leased_until <= now)


def lease(conn: sa.Connection, keys: Iterable[ItemKey], until: datetime) -> None:
    """Take items out of the due range until the lease ends."""
    rows = [{"its_family": family, "its_id": item_id, "until": until} for family, item_id in sorted(keys)]
    if rows:
        conn.execute(_LEASE, rows)


def postpone(conn: sa.Connection, postponed: Sequence[Postponed], leased_until: datetime) -> None:
    """End leases without an answer, under the locks of the items' tasks. An item that has been leased anew or
    settled meanwhile is left alone."""
    for item in sorted(postponed, key=lambda each: each.key):
        family, item_id = item.key
        conn.execute(
            items.update()
            .where(
                items.c.family == family,
                items.c.item_id == item_id,
                items.c.query_leased_until == leased_until,
                items.c.query_due_at.is_not(None),
            )
            .values(
                query_due_at=item.due_at,
                query_leased_until=None,
                query_group=item.group,
                query_attempts=item.attempts,
            )
        )


def put_off(conn: sa.Connection, planned: Mapping[ItemKey, datetime]) -> None:
    """Make items that were asked about before their time due again when they would have been. One that is final by now,
    or that somebody asks about, is left alone."""
    # As every change of several items of a task: under the task's lock, or a callback could meet it half-way.
    state_store.lock(conn, (), list(planned))
    for (family, item_id), due_at in sorted(planned.items()):
        conn.execute(
            items.update()
            .where(
                items.c.family == family,
                items.c.item_id == item_id,
                items.c.query_due_at < due_at,
                items.c.query_leased_until.is_(None),
                items.c.status.not_in(_FINAL),
            )
            .values(query_due_at=due_at)
        )


def reopen(conn: sa.Connection, keys: Collection[ItemKey]) -> None:
    """Let settled items be asked about by whoever wants to know of them; they come due for nobody else. Whatever is
    applied to their task settles them again."""
    state_store.lock(conn, (), list(keys))
    for family, item_id in sorted(keys):
        named = sa.and_(items.c.family == family, items.c.item_id == item_id)
        conn.execute(items.update().where(named, items.c.query_due_at.is_(None)).values(query_due_at=FAR))


def bring_forward(conn: sa.Connection, key: ItemKey, due_at: datetime) -> None:
    """Have an item asked about by a time at the latest, under the lock of its task. One that somebody asks about, or
    of which there is nothing to ask, is left alone."""
    family, item_id = key
    named = sa.and_(items.c.family == family, items.c.item_id == item_id)
    later_only = sa.and_(items.c.query_due_at > due_at, items.c.query_leased_until.is_(None))
    conn.execute(items.update().where(named, later_only).values(query_due_at=due_at))
