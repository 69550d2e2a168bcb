"""Tell whether the schema is at the revision that this release needs. Loads nothing of Alembic: it takes longer than
all else that a short command does.

Which releases the schema still serves is a comment on Alembic's own table: it goes wherever the schema goes (dumps,
copies) and needs no table. A release that has been overtaken while it runs asks for it. PostgreSQL only: a SQLite file
has one process, which migrates it when it starts.
"""

import json
import re
from collections.abc import Sequence
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from app.errors import SchemaNotAtHead

MIGRATIONS: Final = Path(__file__).parents[2] / "migrations"
_REVISION: Final = re.compile(r'^revision(?:: \w+)? = "([^"]+)"$', re.MULTILINE)
_DOWN: Final = re.compile(r'^down_revision(?:: [^=]+)? = "([^"]+)"$', re.MULTILINE)
_VERSION: Final = sa.table("alembic_version", sa.column("version_num"))
_READ: Final = sa.text("SELECT obj_description(to_regclass('alembic_version'), 'pg_class')")


def note_usable(conn: sa.Connection, path: Sequence[str], usable: Sequence[str]) -> None:
    """Note that a schema at any revision of ``path`` serves the releases of the usable revisions. PostgreSQL;
    Alembic's table is there."""
    # COMMENT takes no parameters; revisions are names from our own history.
    text = json.dumps({"revisions": list(path), "usable_at": list(usable)}).replace("'", "''")
    conn.exec_driver_sql(f"COMMENT ON TABLE alembic_version IS '{text}'")


def usable_revisions(conn: sa.Connection, revision: str) -> frozenset[str]:
    """Read what was noted of this revision; none on SQLite, and where nothing was."""
    text = conn.scalar(_READ) if conn.dialect.name == "postgresql" else None
    try:
        note: Any = json.loads(text or "{}")
        return frozenset(note["usable_at"]) if revision in note["revisions"] else frozenset()
    except (ValueError, LookupError, TypeError):
        return frozenset()


@cache
def _history() -> dict[str, str | None]:
    """Read each revision of this release, with the one before it, from the migrations' files as text."""
    history: dict[str, str | None] = {}
    for path in (MIGRATIONS / "versions").glob("*.py"):
        text = path.read_text()
        if (revision := _REVISION.search(text)) is not None:
            before = _DOWN.search(text)
            history[revision[1]] = before[1] if before is not None else None
    return history


def head() -> str:
    """The revision that this release needs."""
    history = _history()
    [newest] = history.keys() - history.values()
    return newest


def known_revisions() -> frozenset[str]:
    """Every revision of this release's history."""
    return frozenset(_history())


class Schema(Enum):
    """How the database's schema stands to this release. One that is ahead was moved on by a newer release, which
    noted that this one may go on (docs/upgrading.md)."""

    AT_HEAD = "ok"
    AHEAD = "ahead"
    OTHER = "not at head"


def compare_schema(conn: sa.Connection) -> Schema:
    """Compare the schema with this release's head, for a process that runs already."""
    current = revision_of(conn)
    if current == head():
        return Schema.AT_HEAD
    # A revision of this release's own history is behind it, whatever was noted.
    if current is None or current in known_revisions():
        return Schema.OTHER
    return Schema.AHEAD if head() in usable_revisions(conn, current) else Schema.OTHER


def check_at_head(conn: sa.Connection) -> None:
    """Check that the schema is at head. Raises ``SchemaNotAtHead`` if the database is at another revision, or at
    none."""
    current = revision_of(conn)
    if current == head():
        return
    refuse_unknown(current)
    raise SchemaNotAtHead(
        f"the schema is at {current or 'no revision'}, this release needs {head()}: run 'tempolor-gateway migrate'"
    )


def revision_of(conn: sa.Connection) -> str | None:
    """Read the database's revision, None where it has no schema of ours."""
    return conn.scalar(sa.select(_VERSION)) if sa.inspect(conn).has_table(_VERSION.name) else None


def refuse_unknown(current: str | None) -> None:
    """Refuse a revision of another release's history. Raises ``SchemaNotAtHead``."""
    if current is not None and current not in known_revisions():
        raise SchemaNotAtHead(
            f"the schema is at {current}, which this release does not know: another release's 'tempolor-gateway "
            "migrate' made it, so start that release, or take the schema back with it (migrate --to)"
        )
