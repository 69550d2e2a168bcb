"""Routes of files: artifacts and members of zips for clients, links for whoever has one, and uploads."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final
from urllib.parse import quote, unquote

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel

from app.app_context import Context
from app.archive import read_zip, rows, uploads
from app.archive.file_response import FileResponse, StoredFile
from app.archive.file_store import FileStore
from app.clients.auth import TheClient, TheContext, scope_of
from app.errors import ArtifactGone, ArtifactNotReady, ArtifactUnknown, NotFound
from app.rules.client import Client
from app.rules.task import Copy, CopyStatus, Item
from app.rules.views import ArtifactStatus, ArtifactView, view_item
from app.runtime.concurrency_limit import ConcurrencyLimit
from app.runtime.file_links import ArtifactRef, UploadRef, readable_name
from app.tasks import item_rows, task_rows
from app.tasks import state_store as state
from app.tempolor.kinds import ARTIFACTS, FAMILIES
from app.tempolor.values import as_text
from app.web.answers import PROBLEMS, Responses, json_answer, problem_response
from app.web.bodies import pieces_of
from app.web.parameters import RequestText, storable
from app.web.problems import Problem
from app.web.services import service

router = APIRouter(responses=PROBLEMS, tags=["Files"])
links = APIRouter()
"""What needs no key."""
TheStore = Annotated[FileStore | None, service("file_store")]
UploadLimit = Annotated[ConcurrencyLimit, service("uploads")]
ArtifactNameInPath = Annotated[
    str, Path(alias="name", description="The name of an artifact.", json_schema_extra={"enum": [*ARTIFACTS]})
]
_KEPT: Final[Responses] = {
    404: problem_response("There is no such item, or no such artifact of it", "not_found", "artifact_unknown"),
    409: problem_response("It is not there yet", "artifact_not_ready"),
    410: problem_response("Its link has expired, and no copy is kept", "artifact_gone"),
}
_ZIP: Final[Responses] = {
    422: problem_response("The request is not valid, or the zip is refused", "invalid_request", "zip_refused")
}
_BINARY: Final = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_FILE: Final[Responses] = {
    200: {"description": "The file", "content": _BINARY},
    206: {"description": "The range of it that was asked for"},
    304: {"description": "The reader has it already"},
    307: {"description": "The gateway keeps no copy (yet): the vendor's link, while it is good"},
    416: problem_response("No range within the file", "range_not_satisfiable"),
}


class ZipMember(BaseModel):
    """A file in a zip. `name` is its path there."""

    name: str
    bytes: int
    media_type: str


class MemberPage(BaseModel):
    data: list[ZipMember]
    next_cursor: str | None


class UploadedFile(BaseModel):
    """An input file. `url` is what a task's params name it by; it goes at `expires_at` unless a task needs it."""

    id: str
    url: str
    bytes: int
    sha256: str
    media_type: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class _Found:
    """An artifact as it is found: its copy, and what the vendor's link says."""

    ref: ArtifactRef
    title: str | None
    copy: Copy | None
    view: ArtifactView


# The longest path first: an item's id may hold slashes, and so may the name of a member.
@router.head("/v1/items/{item_id:path}/artifacts/{name}/members/{member:path}", include_in_schema=False)
@router.get(
    "/v1/items/{item_id:path}/artifacts/{name}/members/{member:path}",
    response_class=Response,
    responses=_KEPT | _ZIP | _FILE,
    summary="Fetch one file of a zip",
)
async def get_artifact_member(
    item_id: str, name: ArtifactNameInPath, member: str, client: TheClient, context: TheContext, store: TheStore
) -> Response:
    """One file of a kept zip by itself."""
    copy, kept_in = _kept(await _find(context, item_id, name, client), store)
    zipped = await read_zip.open_zip(kept_in, copy.path or "", copy.bytes or 0)
    found = zipped.find(member)
    if found is None:
        raise NotFound("there is no such file in the zip")

    def read(start: int, length: int) -> AsyncGenerator[bytes, None]:
        return zipped.read(member, start, length)

    # A tag belongs to one URL, and so to one member: it changes with the zip.
    etag = copy.sha256 or ""
    return FileResponse(StoredFile(found.bytes, found.media_type, etag, member.rpartition("/")[2], read))


@router.get(
    "/v1/items/{item_id:path}/artifacts/{name}/members",
    response_model=MemberPage,
    responses=_KEPT | _ZIP,
    summary="List what is in a zip",
)
async def list_artifact_members(
    item_id: str, name: ArtifactNameInPath, client: TheClient, context: TheContext, store: TheStore
) -> Response:
    """The files in a kept zip (`stems`, `midi`), in its order."""
    members = await members_of(item_id, name, client, context, store)
    data = [{"name": one.name, "bytes": one.bytes, "media_type": one.media_type} for one in members]
    return json_answer({"data": data, "next_cursor": None})


@router.head("/v1/items/{item_id:path}/artifacts/{name}", include_in_schema=False)
@router.get(
    "/v1/items/{item_id:path}/artifacts/{name}",
    response_class=Response,
    responses=_KEPT | _FILE,
    summary="Fetch a result file",
)
async def get_artifact(
    item_id: str, name: ArtifactNameInPath, client: TheClient, context: TheContext, store: TheStore
) -> Response:
    """The file of an artifact: from the archive, whole or by `Range`, with the SHA-256 as its `ETag`; while there is no
    copy, a redirect to the vendor's link."""
    found = await _find(context, item_id, name, client)
    return await _answer(context, store, found)


@links.head("/files/{token}/{filename:path}", include_in_schema=False)
@links.get("/files/{token}/{filename:path}", include_in_schema=False)
async def get_file(token: str, filename: str, context: TheContext, store: TheStore) -> Response:
    """A file by its link; the token is the permission, and the name is for people."""
    del filename
    ref = context.files.verify(token, context.clock.now()) if context.files is not None else None
    if ref is None:
        return Problem(403, "forbidden", "The link is not valid, or has ended.")
    if isinstance(ref, UploadRef):
        row = await context.db.read(uploads.file_of, ref.id)
        if row is None or store is None:
            raise ArtifactGone("the upload is not kept any more")
        return _stored(store, row.path, row.bytes, row.sha256, row.media_type, unquote(row.path.rpartition("/")[2]))
    found = await context.db.read(_look, context, ref.item_id, ref.name, None, ref.family)
    if found is None:
        raise ArtifactGone("the file is not kept any more")
    return await _answer(context, store, found)


@router.post(
    "/v1/uploads",
    status_code=201,
    response_model=UploadedFile,
    responses={501: problem_response("The gateway keeps no files", "archive_off")},
    openapi_extra={"requestBody": {"required": True, "content": _BINARY}},
    summary="Upload an input file",
)
async def create_upload(
    request: Request,
    client: TheClient,
    context: TheContext,
    store: TheStore,
    limit: UploadLimit,
    filename: Annotated[RequestText, Query(max_length=255, description="what the file is called")] = "upload",
) -> Response:
    """The raw body, audio of 50 MB at most; mp3, WAV and FLAC are recognized, other formats need their
    `Content-Type` (`audio/…`). Name its `url` in `params` (`url`, `upload_audio_url`): the vendor gets a link to it
    that is good until the task's deadline."""
    body = pieces_of(request, uploads.MOST_BYTES)
    with limit.place(client.name):
        content_type = request.headers.get("content-type", "")
        stored = await uploads.store_upload(context, store, client, filename, body, content_type)
    return json_answer(
        {
            "id": str(stored.id),
            "url": f"upload:{stored.id}",
            "bytes": stored.bytes,
            "sha256": stored.sha256,
            "media_type": stored.media_type,
            "expires_at": stored.expires_at,
        },
        201,
    )


async def members_of(
    item_id: str, name: str, client: Client, context: Context, store: FileStore | None
) -> list[read_zip.Member]:
    """The files in a kept zip of an item that a client may see, in their order. Raises ``NotFound``,
    ``ArtifactUnknown``, ``ArtifactNotReady``, ``ArtifactGone``, ``ZipRefused``, and what the store raises."""
    copy, kept_in = _kept(await _find(context, item_id, name, client), store)
    return (await read_zip.open_zip(kept_in, copy.path or "", copy.bytes or 0)).members


async def _find(context: Context, item_id: str, name: str, client: Client) -> _Found:
    """An artifact of an item that a client may see. Raises ``NotFound``, ``ArtifactUnknown``."""
    found = await context.db.read(_look, context, storable(item_id), name, scope_of(client))
    if found is None:
        raise NotFound("there is no such item")
    return found


def _look(
    conn: sa.Connection, context: Context, item_id: str, name: str, client_name: str | None, family: str | None = None
) -> _Found | None:
    """Look for an artifact in the items of this id, of which each family may have one. None: there is no such item.
    Raises ``ArtifactUnknown``."""
    refusal: ArtifactUnknown | None = None
    for found_family, task_id in rows.owners_of_item(conn, item_id, client_name):
        if family not in (None, found_family):
            continue
        record = task_rows.find(conn, task_id, None)
        items = state.items_of(conn, [task_id])
        item = next((item for item in items if item.key == (found_family, item_id)), None)
        if record is None or item is None:
            continue  # it is gone, or another task's, by now
        shape = FAMILIES[found_family].shape
        view = view_item(item, record.task, shape, context.policy).artifacts.get(name)
        if view is not None:
            ref = ArtifactRef(found_family, item_id, name)
            return _Found(ref, _title(conn, item), (item.copies or {}).get(name), view)
        is_of_kind = name in {artifact.name for artifact in shape.artifacts}
        refusal = ArtifactUnknown(f"{'this item' if is_of_kind else 'an item of this kind'} has no {name!r}")
    if refusal is not None:
        raise refusal
    return None


def _title(conn: sa.Connection, item: Item) -> str | None:
    large = item.state.large.get("title")
    if large is None:
        return as_text(item.state.value("title"))
    return as_text(item_rows.values_of(conn, [item], {"title"}).get(large[1]))


async def _answer(context: Context, store: FileStore | None, found: _Found) -> Response:
    copy, view = found.copy, found.view
    if copy is not None and copy.status is CopyStatus.KEPT and store is not None:
        name = readable_name(found.title, found.ref.name, copy.media_type or "")
        return _stored(store, copy.path or "", copy.bytes or 0, copy.sha256 or "", copy.media_type or "", name)
    if view.status is ArtifactStatus.PENDING:
        raise ArtifactNotReady("the file is not there yet")
    is_good = view.expires_at is not None and view.expires_at > context.clock.now()
    if view.status is ArtifactStatus.READY and is_good:
        if not isinstance(view.url, str):
            raise ArtifactGone("it is several files, of which none is kept: their links are in the task")
        # It is what the vendor sent: letters of any script, and line breaks, which would end the header.
        location = quote(view.url, safe=":/%#?=@[]!$&'()*+,;")
        return Response(status_code=307, headers={"Location": location, "Referrer-Policy": "no-referrer"})
    expired = view.status is ArtifactStatus.READY
    raise ArtifactGone("the file is not kept, and its link has expired" if expired else "the file has not come")


def _kept(found: _Found, store: FileStore | None) -> tuple[Copy, FileStore]:
    """The kept zip. Raises ``ArtifactNotReady``, ``ArtifactUnknown``, ``ArtifactGone``."""
    copy = found.copy
    if store is not None and copy is not None and copy.status is CopyStatus.KEPT:
        if copy.media_type != "application/zip":
            raise ArtifactUnknown("the file is not a zip")
        return copy, store
    if store is not None and (
        copy.status is CopyStatus.PENDING if copy else found.view.status is ArtifactStatus.PENDING
    ):
        raise ArtifactNotReady("the file is not kept yet")
    raise ArtifactGone("the file is not kept")


def _stored(store: FileStore, path: str, size: int, sha256: str, media_type: str, name: str) -> Response:
    def read(start: int, length: int) -> AsyncGenerator[bytes, None]:
        return store.read(path, start, length)

    return FileResponse(StoredFile(size, media_type, sha256, name, read))
