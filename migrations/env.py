"""Alembic's environment: migrations run on the connection that ``app.database.migrate`` hands over.

Called by the ``alembic`` command (to write a new revision), it opens the database of GATEWAY_DATABASE_URL itself.
"""

import os
from typing import Literal

import sqlalchemy as sa
from alembic import context

from app.database.connect import is_sqlite, parse_url
from app.database.sqlite import create_engine
from app.database.sqlite_file import OpenFiles
from app.database.tables import UtcDateTime, metadata


def render(type_: str, value: object, _context: object) -> str | Literal[False]:
    """A migration says the plain type, so that history does not depend on today's code."""
    return "sa.DateTime(timezone=True)" if type_ == "type" and isinstance(value, UtcDateTime) else False


def run(connection: sa.Connection) -> None:
    """Run what is asked for: on SQLite in one transaction, on PostgreSQL each migration in one of its own, since one
    that builds indexes beside writers has to end those before it. Both databases can undo a half-done schema."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=True,
        transactional_ddl=True,
        transaction_per_migration=True,
        compare_type=True,
        render_item=render,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    url = parse_url(os.environ["GATEWAY_DATABASE_URL"])
    if not is_sqlite(url):
        raise SystemExit("New revisions are written against a SQLite file; 'tempolor-gateway migrate' does the rest.")
    with create_engine(url, OpenFiles(url), begin="BEGIN IMMEDIATE", pool_size=1).connect() as own:
        run(own)
        own.commit()
