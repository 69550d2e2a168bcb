"""Change when items are asked about: postpone a question, put it off, bring it forward."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from app.database.tables import items
from app.rules.observation import ItemKey
from app.rules.status import ITEM_FINAL
from app.rules.times import FAR
from app.tasks import state_store

_FINAL: Final = [status.value for status in ITEM_FINAL]


@dataclass(frozen=True, slots=True)
class Postponed:
    """A question that was not answered: when to ask again, and with whom (see ``query_group``)."""

    key: ItemKey
    due_at: datetime
    group: str
    attempts: int


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
