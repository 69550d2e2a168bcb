"""How long callbacks took: counts per (kind, stage, bucket), shared by all replicas and kept over restarts."""

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import delays

Stage = tuple[str, int]

_KEY: Final = ("kind", "stage", "bucket")


def add(conn: sa.Connection, counts: Mapping[tuple[str, int, int], int], most: int) -> None:
    """Add counts per (kind, stage, bucket); where a stage has more than ``most``, its counts are halved."""
    if counts:
        insert = dialect.insert(conn, delays)
        added = insert.on_conflict_do_update(index_elements=_KEY, set_={"n": delays.c.n + insert.excluded.n})
        conn.execute(added, [dict(zip((*_KEY, "n"), (*key, n), strict=True)) for key, n in sorted(counts.items())])
    touched = {(kind, stage) for kind, stage, _ in counts}
    for kind, stage in sorted(touched):
        _halve(conn, kind, stage, most)


def load(conn: sa.Connection) -> dict[Stage, dict[int, int]]:
    """All counts: by (kind, stage), then by bucket."""
    found: dict[Stage, dict[int, int]] = {}
    for row in conn.execute(sa.select(delays)):
        found.setdefault((row.kind, row.stage), {})[row.bucket] = row.n
    return found


def _halve(conn: sa.Connection, kind: str, stage: int, most: int) -> None:
    mine = sa.and_(delays.c.kind == kind, delays.c.stage == stage)
    total = conn.scalar(sa.select(sa.func.sum(delays.c.n)).where(mine)) or 0
    if total > most:
        conn.execute(delays.update().where(mine).values(n=delays.c.n // 2))
        conn.execute(delays.delete().where(mine, delays.c.n == 0))
