"""What the vendor said that nobody knew: bounded in rows, added up over all replicas."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import drift

MOST_ROWS: Final = 1000
MOST_PER_SORT: Final = 250
"""So that a flood of names of one sort leaves room for the others."""
OTHERS: Final = "(others)"
"""The row of a sort that counts what there was no more room for."""

Key = tuple[str, str, str]
"""Sort, family, name."""


class Seen(NamedTuple):
    """How often something was seen, first and last."""

    times: int
    first_seen_at: datetime
    last_seen_at: datetime

    def joined(self, other: "Seen") -> "Seen":
        return Seen(
            self.times + other.times,
            min(self.first_seen_at, other.first_seen_at),
            max(self.last_seen_at, other.last_seen_at),
        )


def add(conn: sa.Connection, found: Mapping[Key, Seen], forget_before: datetime | None) -> None:
    """Add what was seen to what is kept. What was not seen since a time goes; what there is no room for then is
    counted in a row of its sort."""
    c = drift.c
    if forget_before is not None:
        conn.execute(drift.delete().where(c.last_seen_at < forget_before))
    rows_kept = conn.execute(sa.select(c.sort, c.family, c.name).where(c.name != OTHERS))
    kept = {(row.sort, row.family, row.name) for row in rows_kept}
    per_sort = Counter(sort for sort, _, _ in kept)
    rows: dict[Key, Seen] = {}
    for key, seen in found.items():
        has_room = len(kept) < MOST_ROWS and per_sort[key[0]] < MOST_PER_SORT
        if key not in kept and has_room:
            kept.add(key)
            per_sort[key[0]] += 1
        place = key if key in kept else (key[0], "", OTHERS)
        rows[place] = rows[place].joined(seen) if place in rows else seen
    for (sort, family, name), seen in sorted(rows.items()):
        statement = dialect.insert(conn, drift).values(sort=sort, family=family, name=name, **seen._asdict())
        new = statement.excluded
        changes = {
            "times": c.times + new.times,
            "first_seen_at": sa.case((new.first_seen_at < c.first_seen_at, new.first_seen_at), else_=c.first_seen_at),
            "last_seen_at": sa.case((new.last_seen_at > c.last_seen_at, new.last_seen_at), else_=c.last_seen_at),
        }
        conn.execute(statement.on_conflict_do_update(index_elements=["sort", "family", "name"], set_=changes))


def listed(conn: sa.Connection, sort: str | None) -> list[Any]:
    """All rows, or those of one sort; what was seen last comes first."""
    statement = sa.select(drift).order_by(drift.c.last_seen_at.desc(), drift.c.sort, drift.c.family, drift.c.name)
    if sort is not None:
        statement = statement.where(drift.c.sort == sort)
    return list(conn.execute(statement))
