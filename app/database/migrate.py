"""Bring the schema to head. One Alembic history for both databases."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.connect import is_sqlite, parse_url
from app.database.faults import unavailable
from app.database.postgres import create_engine as create_postgres_engine
from app.database.postgres import look_at
from app.database.postgres_url import Target, read_url
from app.database.schema_revision import MIGRATIONS, head, known_revisions, note_usable, refuse_unknown, revision_of
from app.database.sqlite import create_engine as create_sqlite_engine
from app.database.sqlite_file import FileLock, OpenFiles, find_file, place_of
from app.database.tables import metadata
from app.errors import InvalidRequest, UnsuitableDatabase

_LOCK_KEY: Final = 0x7E3D_0106
_LOCK_WAIT_S: Final = 0.2
_NO_LIMITS: Final = {"statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0"}
"""A migration takes as long as it takes."""
_LIMITS: Final = {"lock_timeout": "5s"}
"""But others queue up behind a transaction that waits for a lock."""


def alembic_config() -> Config:
    """Alembic's configuration, with a path that holds wherever the process was started. The file ``alembic.ini`` is for
    those who write a migration; an installed package has none."""
    config = Config()
    config.set_main_option("path_separator", "os")
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def migrate(url: str, revision: str = "head") -> None:
    """Upgrade or downgrade to a revision. Safe when several processes do it at once. Raises ``SchemaNotAtHead`` on
    the schema of a newer release, ``InvalidRequest`` for a revision that this release does not know, and
    ``Unavailable``."""
    if revision not in ("head", "base") and revision not in known_revisions():
        raise InvalidRequest(f"this release does not know the revision {revision}")
    parsed = parse_url(url)
    if is_sqlite(parsed):
        _migrate_sqlite(parsed, revision)
    else:
        _run_apart(lambda: asyncio.run(_migrate_postgres(read_url(parsed), revision)))


def _migrate_sqlite(url: sa.URL, revision: str) -> None:
    lock = FileLock(url, ".migrate.lock")
    engine = create_sqlite_engine(url, OpenFiles(url), begin="BEGIN IMMEDIATE", pool_size=1)
    try:
        lock.acquire(wait=True)
        find_file(url, make=True)
        with engine.connect() as conn:
            # A table is changed by copying it, and dropping the old one must not cascade into its children.
            conn.exec_driver_sql("COMMIT")
            conn.exec_driver_sql("PRAGMA foreign_keys = OFF")
            conn.exec_driver_sql("BEGIN IMMEDIATE")
            _alembic(conn, revision, _current(conn))
            conn.commit()
    except Exception as error:
        raise unavailable(error, place_of(url)) or error from error.__cause__
    finally:
        engine.dispose()
        lock.release()


async def _migrate_postgres(target: Target, revision: str) -> None:
    engine: AsyncEngine | None = None
    try:
        pooled = await look_at(target)
        engine = create_postgres_engine(
            target, _NO_LIMITS, _LIMITS, pooled=pooled, command_timeout=None, poolclass=sa.NullPool
        )
        async with engine.connect() as holder:
            await holder.run_sync(_wait_for_turn)
            # The driver leaves a finished query open, with its snapshot, until there is another.
            await holder.run_sync(lambda conn: conn.connection.run_async(lambda driver: driver.execute("SELECT")))
            async with engine.connect() as conn:
                await conn.run_sync(_migrate_alone, revision)
    except Exception as error:
        raise unavailable(error, target.place) or error from error.__cause__
    finally:
        if engine is not None:
            await engine.dispose()


def _wait_for_turn(conn: sa.Connection) -> None:
    """Take the migration lock, for as long as the transaction stands: a session nobody has for himself behind a
    pooler."""
    # Tried in a loop: who waits for an advisory lock holds a snapshot, and would deadlock with an index that is being
    # built concurrently.
    while not conn.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK_KEY))):
        conn.rollback()
        time.sleep(_LOCK_WAIT_S)


def _migrate_alone(conn: sa.Connection, revision: str) -> None:
    current = _current(conn)
    # Alembic begins its own transaction, which a migration may leave to build an index concurrently.
    conn.commit()
    # Noted before the change, so that no process of the release before sees the one without the other.
    if current is not None:
        note_usable(conn, _path(current, revision), _served_at(revision))
        conn.commit()
    _alembic(conn, revision, current)
    conn.commit()


def _current(conn: sa.Connection) -> str | None:
    """The revision to begin at, None for an empty database. Raises ``SchemaNotAtHead``, ``UnsuitableDatabase``."""
    current = revision_of(conn)
    refuse_unknown(current)
    others = sorted(metadata.tables.keys() & set(sa.inspect(conn).get_table_names())) if current is None else []
    if others:
        raise UnsuitableDatabase(
            f"the database has tables of somebody else, which are called as ours are ({', '.join(map(repr, others))}): "
            "give the gateway a database of its own"
        )
    return current


def _alembic(conn: sa.Connection, revision: str, current: str | None) -> None:
    if current == (head() if revision == "head" else revision):
        return  # Alembic would read every migration to find that out
    config = alembic_config()
    config.attributes["connection"] = conn
    if _is_down(current, revision):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


def _served_at(target: str) -> list[str]:
    """Read the revisions whose releases a schema at the target serves: itself, and back to the last one that
    contracts."""
    served: list[str] = []
    for script in ScriptDirectory.from_config(alembic_config()).iterate_revisions(target, "base"):
        served.append(script.revision)
        if getattr(script.module, "contracts", False):
            break
    return served


def _path(current: str, target: str) -> list[str]:
    """Read the revisions from the one to the other, with both: an upgrade of several steps rests at each."""
    upper, lower = (current, target) if _is_down(current, target) else (target, current)
    scripts = ScriptDirectory.from_config(alembic_config()).iterate_revisions(upper, lower, inclusive=True)
    return [script.revision for script in scripts]


def _is_down(current: str | None, revision: str) -> bool:
    if revision in ("head", "base") or current is None:
        return revision == "base"
    history = ScriptDirectory.from_config(alembic_config()).iterate_revisions(current, "base")
    return revision != current and revision in {script.revision for script in history}


def _run_apart(work: Callable[[], Any]) -> None:
    """Run in a thread of its own, since the caller may have an event loop running."""
    fault: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            fault.append(error)

    thread = threading.Thread(target=run, name="migrate")
    thread.start()
    thread.join()
    if fault:
        raise fault[0]
