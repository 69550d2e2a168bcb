"""Whether the database keeps what it has confirmed: the settings of PostgreSQL under which it may not."""

from typing import Final

import sqlalchemy as sa

from app.storage import dialect

SETTINGS: Final = ("fsync", "full_page_writes", "synchronous_commit")
"""Each of them off means that a commit which was confirmed can be lost, or the whole database, when the machine
stops (PostgreSQL's documentation, "Write Ahead Log"). G1 does not hold then."""
_LOOK: Final = sa.select(sa.column("name", sa.Text)).select_from(sa.table("pg_settings"))


def unsafe_settings(conn: sa.Connection) -> list[str]:
    """Which of ``SETTINGS`` are off for this session, by name. None on SQLite, where we set ``synchronous``
    ourselves."""
    if not dialect.is_postgresql(conn):
        return []
    off = sa.and_(sa.column("name", sa.Text).in_(SETTINGS), sa.column("setting", sa.Text) == "off")
    return sorted(conn.scalars(_LOOK.where(off)))
