"""Uploads: input files that clients hand to the gateway, for the vendor to fetch.

A task names one as ``upload:{id}`` in its params. When the task is sent, that becomes a link under ``/files/`` that is
good until the task's deadline; the file goes a day after the last of its tasks has ended.
"""

import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from app.app_context import Context
from app.archive import rows
from app.archive.download import UPLOADED, media_type_of
from app.archive.file_store import FileStore, path_part
from app.archive.rows import Reservation
from app.database import dialect
from app.database.tables import files, tasks, upload_uses, uploads
from app.errors import ArchiveOff, InvalidRequest, PayloadTooLarge, Unavailable
from app.rules.client import Client
from app.rules.task import Copy, CopyStatus
from app.runtime.file_links import readable_name
from app.tasks import stored_files

MOST_BYTES: Final = 50 * 1024 * 1024
UNUSED: Final = timedelta(days=1)
"""How long an upload waits for a task, and how long it stays after its last one has ended."""
_HEAD_BYTES: Final = 12
_AUDIO: Final = re.compile(r"audio/[a-z0-9][a-z0-9!#$&^_.+-]{0,60}")
_SAYS_NOTHING: Final = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded"})
"""What programs send that were not told a type: curl the last one."""
_DOCUMENTS: Final = (b"<!doctype", b"<html", b"<?xml", b'{"')
"""How pages and errors begin that a program has saved in place of a file."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A stored upload."""

    id: UUID
    bytes: int
    sha256: str
    media_type: str
    expires_at: datetime


async def store_upload(
    context: Context,
    store: FileStore | None,
    client: Client,
    file_name: str,
    body: AsyncIterator[bytes],
    content_type: str = "",
) -> Upload:
    """Store an input file, durable when this returns. Raises ``ArchiveOff`` (there is no store), ``InvalidRequest`` for
    what is no audio, ``PayloadTooLarge``, ``StoreFailed``, and what reading the body raises."""
    if store is None:
        raise ArchiveOff("uploads need GATEWAY_ARCHIVE_URL")
    upload_id, now = context.ids(), context.clock.now()
    head = await _head(body)
    media_type = _media_type(head, content_type)
    received = _Received()
    stem = file_name.rpartition(".")[0] or file_name
    name, _, ending = readable_name(stem, "audio", media_type).rpartition(".")
    path = f"uploads/{upload_id}/{path_part(name)}.{ending}"
    reserved = await context.db.write(rows.reserve, lambda _number: path, "upload", client.name, now)
    await store.put(path, received.pieces(head, body))
    copy = Copy(CopyStatus.KEPT, path, received.size, received.sha256, media_type)
    await context.db.write(_add, upload_id, client.name, copy, reserved, now)
    return Upload(upload_id, received.size, received.sha256, media_type, now + UNUSED)


def file_of(conn: sa.Connection, upload_id: UUID) -> Any | None:
    """The file of an upload that is there still."""
    statement = sa.select(files).join(uploads, uploads.c.path == files.c.path)
    return conn.execute(statement.where(uploads.c.id == upload_id, files.c.doomed_at.is_(None))).one_or_none()


def doom_unused(conn: sa.Connection, now: datetime, limit: int) -> int:
    """Have uploads deleted that no task needs any more, the oldest first. Returns how many."""
    before = now - UNUSED
    needed = (
        sa.select(upload_uses.c.upload_id)
        .join(tasks, tasks.c.id == upload_uses.c.task_id)
        .where(sa.or_(tasks.c.finished_at.is_(None), tasks.c.finished_at > before))
    )
    is_needed = needed.where(upload_uses.c.upload_id == uploads.c.id).exists()
    old = sa.select(uploads.c.id, uploads.c.path).where(uploads.c.created_at < before, ~is_needed)
    old = old.order_by(uploads.c.created_at).limit(limit)
    paths = {row.id: row.path for row in conn.execute(dialect.locked(old, of=uploads, skip=True))}
    # Once more, now that no task can take them: one may have, since the statement that chose them began.
    for taken in conn.scalars(needed.where(upload_uses.c.upload_id.in_(list(paths)))):
        paths.pop(taken, None)
    stored_files.doom(conn, list(paths.values()), now)
    conn.execute(upload_uses.delete().where(upload_uses.c.upload_id.in_(list(paths))))
    conn.execute(uploads.delete().where(uploads.c.id.in_(list(paths))))
    return len(paths)


def _media_type(head: bytes, content_type: str) -> str:
    """The media type of an upload: what its first bytes show, else what its sender calls it, since the vendor takes
    more forms than we know. Raises ``InvalidRequest`` for what is no audio."""
    named = content_type.partition(";")[0].strip().lower()
    is_audio = _AUDIO.fullmatch(named) is not None
    if not is_audio and named not in _SAYS_NOTHING:
        raise InvalidRequest("an upload needs a Content-Type of audio/…")
    found = media_type_of(head, UPLOADED) or (named if is_audio else None)
    if found is None:
        raise InvalidRequest("the body is not mp3, WAV or FLAC; for another audio format, send its Content-Type")
    if not head or head.lstrip().lower().startswith(_DOCUMENTS):
        raise InvalidRequest("the body is not audio")
    return found


async def _head(body: AsyncIterator[bytes]) -> bytes:
    head = b""
    async for piece in body:
        head += piece
        if len(head) >= _HEAD_BYTES:
            break
    return head


class _Received:
    """What has come of an upload."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    async def pieces(self, head: bytes, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        yield self._note(head)
        async for piece in body:
            yield self._note(piece)

    def _note(self, piece: bytes) -> bytes:
        self.size += len(piece)
        if self.size > MOST_BYTES:
            raise PayloadTooLarge(f"the file is over {MOST_BYTES} bytes")
        self._hash.update(piece)
        return piece


def _add(
    conn: sa.Connection, upload_id: UUID, client_name: str, copy: Copy, reserved: Reservation, now: datetime
) -> None:
    if not rows.keep(conn, reserved, copy, now):
        raise Unavailable("the upload took too long")
    conn.execute(uploads.insert().values(id=upload_id, client_name=client_name, path=copy.path, created_at=now))
