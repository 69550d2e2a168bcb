"""References to uploads in the params of tasks: ``upload:{id}`` in place of a URL."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote
from uuid import UUID

import sqlalchemy as sa

from app.database import dialect
from app.database.tables import files, upload_uses, uploads

PREFIX: Final = "upload:"
FIELDS: Final = ("url", "upload_audio_url")


def named_in(params: Mapping[str, Any]) -> dict[str, UUID | None]:
    """Find the uploads that params name, by field; None for a reference that can be no upload's."""
    named: dict[str, UUID | None] = {}
    for field in FIELDS:
        value = params.get(field)
        if isinstance(value, str) and value.startswith(PREFIX):
            try:
                named[field] = UUID(value.removeprefix(PREFIX))
            except ValueError:
                named[field] = None
    return named


def unknown(conn: sa.Connection, upload_ids: Iterable[UUID], client_name: str) -> set[UUID]:
    """Read which of these uploads a client does not have (any more), in the caller's transaction; the others stay until
    it ends."""
    asked_for = set(upload_ids)
    statement = (
        sa.select(uploads.c.id)
        .join(files, files.c.path == uploads.c.path)
        .where(dialect.any_of(conn, uploads.c.id, sorted(asked_for)), uploads.c.client_name == client_name)
        .where(files.c.doomed_at.is_(None))
        .with_for_update(read=True, of=uploads)
    )
    return asked_for - set(conn.scalars(statement)) if asked_for else set()


def note_uses(conn: sa.Connection, uses: Iterable[tuple[UUID, UUID]]) -> None:
    """Insert which tasks need which uploads, as (upload, task)."""
    rows = [{"upload_id": upload_id, "task_id": task_id} for upload_id, task_id in sorted(set(uses))]
    if rows:
        conn.execute(upload_uses.insert(), rows)


def file_names(conn: sa.Connection, upload_ids: Collection[UUID]) -> dict[UUID, str]:
    """Read the file names of those of the uploads that are kept."""
    statement = sa.select(uploads.c.id, uploads.c.path).where(dialect.any_of(conn, uploads.c.id, sorted(upload_ids)))
    statement = statement.join(files, files.c.path == uploads.c.path).where(files.c.doomed_at.is_(None))
    return {row.id: unquote(row.path.rpartition("/")[2]) for row in conn.execute(statement)}


def replaced(params: Mapping[str, Any], link_to: Callable[[UUID], str]) -> dict[str, Any]:
    """Replace references in params by links."""
    links = {field: link_to(upload_id) for field, upload_id in named_in(params).items() if upload_id is not None}
    return {**params, **links}
