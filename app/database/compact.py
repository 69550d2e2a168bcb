"""Give a SQLite file's free pages back to the disk, a few at a time, and keep its write-ahead log short."""

import sqlite3
from contextlib import suppress
from typing import Final

import sqlalchemy as sa

from app.database import dialect
from app.database.sqlite import busy_timeout

PAGES: Final = 200
"""Pages of one step: less than a megabyte."""
PATIENCE_MS: Final = 20
"""How long a step waits for readers; the callbacks' writer waits for it meanwhile."""


def compact(conn: sa.Connection) -> bool:
    """Give some free pages back; returns whether there are more. Nothing on PostgreSQL, whose autovacuum does it.

    It ends its caller's transaction, which must have done nothing else: the pragma frees one page for each step of
    a statement, and the driver runs a statement to its end only as a script, outside of a transaction."""
    if dialect.is_postgresql(conn):
        return False
    before = _free_pages(conn)
    if before:
        _run_outside(conn, f"PRAGMA incremental_vacuum({PAGES})")
    return 0 < _free_pages(conn) < before


def truncate_log(conn: sa.Connection) -> None:
    """Copy the write-ahead log into the file and cut it off; left for the next time while a reader needs it. Nothing
    on PostgreSQL. It ends its caller's transaction, which must have done nothing else: it is not possible in one."""
    if not dialect.is_postgresql(conn):
        _run_outside(conn, "PRAGMA wal_checkpoint(TRUNCATE)")


def _free_pages(conn: sa.Connection) -> int:
    return int(conn.exec_driver_sql("PRAGMA freelist_count").scalar_one())


def _run_outside(conn: sa.Connection, pragma: str) -> None:
    """Run a pragma as a script. While another process writes, or the disk is full, it is left for the next time."""
    driver = dialect.sqlite_driver_of(conn.connection)
    with busy_timeout(driver, PATIENCE_MS), suppress(sqlite3.OperationalError):
        # A script commits first what is open.
        driver.executescript(f"{pragma};")
