"""Which releases the schema still serves, as the newest ``migrate`` noted it: asked for by a release that has been
overtaken while it runs.

The note is a comment on Alembic's own table, so that it goes wherever the schema goes (dumps, copies), and needs no
table of its own. PostgreSQL only: a SQLite file has one process, which migrates it when it starts.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

_READ: Final = sa.text("SELECT obj_description(to_regclass('alembic_version'), 'pg_class')")


def note_usable(conn: sa.Connection, path: Sequence[str], usable: Sequence[str]) -> None:
    """Note that a schema at any revision of ``path`` serves the releases of the usable revisions. PostgreSQL;
    Alembic's table is there."""
    # COMMENT takes no parameters; revisions are names from our own history.
    text = json.dumps({"revisions": list(path), "usable_at": list(usable)}).replace("'", "''")
    conn.exec_driver_sql(f"COMMENT ON TABLE alembic_version IS '{text}'")


def usable_revisions(conn: sa.Connection, revision: str) -> frozenset[str]:
    """What was noted of this revision; none on SQLite, and where nothing was."""
    text = conn.scalar(_READ) if conn.dialect.name == "postgresql" else None
    try:
        found: Any = json.loads(text or "{}")
        return frozenset(found["usable_at"]) if revision in found["revisions"] else frozenset()
    except (ValueError, LookupError, TypeError):
        return frozenset()
