"""Check that the database keeps what it is given: settings of PostgreSQL under which a commit can be lost, or nothing
is taken."""

from typing import Final

import sqlalchemy as sa

from app.database import dialect

SETTINGS: Final = ("fsync", "full_page_writes", "synchronous_commit")
"""Each of them off means that a commit which was confirmed can be lost, or the whole database, when the machine
stops (PostgreSQL's documentation, "Write Ahead Log"). G1 does not hold then."""
_LOOK: Final = sa.select(sa.column("name", sa.Text)).select_from(sa.table("pg_settings"))

_READ_ONLY: Final = sa.select(sa.func.current_setting("transaction_read_only", type_=sa.Text))


def unsafe_settings(conn: sa.Connection) -> list[str]:
    """Read which of ``SETTINGS`` are off for this session, by name. None on SQLite, where we set ``synchronous``
    ourselves."""
    if not dialect.is_postgresql(conn):
        return []
    off = sa.and_(sa.column("name", sa.Text).in_(SETTINGS), sa.column("setting", sa.Text) == "off")
    return sorted(conn.scalars(_LOOK.where(off)))


def takes_writes(conn: sa.Connection) -> bool:
    """Read whether anything can be stored: not on a standby, nor on a server that is set to read only."""
    if not dialect.is_postgresql(conn):
        return True
    return conn.scalar(_READ_ONLY) == "off"
