"""Build indexes of large tables while others write, for migrations.

A plain ``CREATE INDEX`` stops every write to its table for as long as it takes. On PostgreSQL these are built
``CONCURRENTLY``: outside of a transaction, so that a migration that calls this holds nothing else but indexes, and
can be begun again wherever it was cut short.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op


def create_index(name: str, table: str, columns: Sequence[str], where: str | None = None) -> None:
    """Build an index, if it is not there yet. One that was left invalid by a build that was cut short is dropped
    first. Call it in ``upgrade``."""
    condition = sa.text(where) if where is not None else None
    if not _is_postgresql():
        op.create_index(name, table, columns, if_not_exists=True, sqlite_where=condition)
        return
    # A build waits for every transaction that is older than itself. Nobody queues up behind it meanwhile, so that it
    # may wait for as long as it takes: ``migrate`` limits only what is in a transaction.
    with op.get_context().autocommit_block():
        if op.get_bind().scalar(_INVALID, {"name": name}):
            op.drop_index(name, table, postgresql_concurrently=True)
        op.create_index(
            name, table, columns, if_not_exists=True, postgresql_concurrently=True, postgresql_where=condition
        )


def drop_index(name: str, table: str) -> None:
    """Drop an index, if it is there. Call it in ``downgrade``."""
    if not _is_postgresql():
        op.drop_index(name, table, if_exists=True)
        return
    with op.get_context().autocommit_block():
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)


_INVALID = sa.text("SELECT true FROM pg_index WHERE indexrelid = to_regclass(quote_ident(:name)) AND NOT indisvalid")


def _is_postgresql() -> bool:
    return bool(op.get_bind().dialect.name == "postgresql")
