"""Try it: a form for each kind, which submits a task and leads to its page."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from app.app_context import Context
from app.archive import uploads
from app.archive.file_store import FileStore
from app.archive.routes import TheStore, UploadLimit
from app.clients.auth import TheContext
from app.console import api_reference, kind_forms
from app.console.pages import PageRoute, page, see
from app.console.posted_files import FILE_PREFIX, MULTIPART, brings_files, read_parts
from app.console.signed_in import (
    CSRF_HEADER,
    MOST_FORM_BYTES,
    TheVisitor,
    Visitor,
    check_token,
    form_of,
    refuse_other_sites,
)
from app.console.task_items import name_of
from app.console.try_choices import choices_of
from app.database.database import dumps
from app.documents import read
from app.documents.document import Document
from app.errors import InvalidRequest, NotFound
from app.runtime.concurrency_limit import ConcurrencyLimit
from app.submissions.accept_task import accept, digest_of
from app.submissions.check_requests import check_task, idempotent_request
from app.tempolor.kinds import KINDS
from app.web.bodies import refuse_secrets
from app.web.parameters import uuid_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)
FIRST: Final = "song.generate"
_SHOWN_BY_BYTES: Final = (".mp3", ".wav", ".wave", ".flac")
_COVERED: Final = kind_forms.PREFIX + "upload_audio_url"
_ACTION: Final = kind_forms.PREFIX + "action"
"""A track that is handed over is to be covered, unless the form says otherwise."""
_EXAMPLES: Final = {
    "song.generate": {"prompt": "slow pop ballad, piano, a harbour at night", "model": "tempolor-latest"},
    "instrumental.generate": {"prompt": "house, 120 BPM, A minor", "model": "TemPolor i4"},
    "lyrics.generate": {"prompt": "rain on a tin roof"},
}
"""What the form of a kind is filled with at first."""


@dataclass(slots=True)
class SentFiles:
    """The files that came with a form. ``digests``: of their bytes, by the references that they have got; ``faults``:
    why one was refused, by its field."""

    digests: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


@router.get("/console/try")
async def try_first(_visitor: TheVisitor) -> Response:
    """The form that most begin with."""
    return see(f"/console/try/{FIRST}")


@router.get("/console/try/{kind}")
async def try_page(request: Request, kind: str, visitor: TheVisitor, context: TheContext) -> Response:
    """The form of a kind; its fields may be filled by the address, as in `?params.item_id=`, or with what an earlier
    task was asked, by `?like=` and its id."""
    filled, left_out = kind_forms.filled(_known(kind), _EXAMPLES.get(kind, {}))
    like: Document | None = None
    if wanted := request.query_params.get("like"):
        task = await read.task(context, uuid_of(wanted), visitor.scope)
        like = {**task, "name": name_of(task)}
        filled, left_out = kind_forms.filled(kind, task["params"])
        filled["reference"] = task["reference"] or ""
    given = {**filled, **request.query_params, "once": str(context.ids())}
    return await _form_page(context, kind, visitor, given, left_out=left_out, like=like)


@router.post("/console/try/{kind}")
async def submit(
    request: Request, kind: str, visitor: TheVisitor, context: TheContext, store: TheStore, limit: UploadLimit
) -> Response:
    """Submit what the form says, with the files that it brings. One that is sent twice makes one task; what is wrong
    with it is shown beside its fields."""
    if brings_files(request):
        form, sent = await _read_with_files(request, visitor, context, store, limit)
        if sent.faults:
            refused = InvalidRequest("a file is refused", tuple(sent.faults.items()))
            return await _form_page(context, _known(kind), visitor, form, refused)
    else:
        form, sent = await form_of(request, visitor), SentFiles()
    params = kind_forms.params_of(_known(kind), form)
    asked: dict[str, Any] = {"kind": kind, "params": params}
    if reference := form.get("reference", "").strip():
        asked["reference"] = reference
    # A file that is sent twice is stored twice, and is the same.
    digest = digest_of(
        asked | {"params": {name: sent.digests.get(str(value), value) for name, value in params.items()}}
    )
    try:
        refuse_secrets(request, dumps(asked).encode())
        new = check_task(asked, context.egress)
        # Who goes back, changes something and sends it again wants another task.
        key = idempotent_request(
            "POST /console/try", f"{form['once']}-{digest.hex()}" if "once" in form else None, digest
        )
        accepted = await accept(context, visitor.client, [new], key)
    except InvalidRequest as error:
        return await _form_page(context, kind, visitor, form, error)
    return see(f"/console/tasks/{accepted.task_ids[0]}?done=submitted")


async def _read_with_files(
    request: Request, visitor: Visitor, context: Context, store: FileStore | None, limit: ConcurrencyLimit
) -> tuple[dict[str, str], SentFiles]:
    """Read a form whose files become uploads, as those of the API do. The token comes before the files, so that
    nothing is stored without it."""
    refuse_other_sites(request)
    sent = SentFiles()

    async def store_file(fields: dict[str, str], file_name: str, media_type: str, body: AsyncIterator[bytes]) -> str:
        check_token(fields.get("csrf", ""), visitor)
        with limit.place(visitor.client.name):
            # A browser goes by the file's ending: that counts only where the bytes could not show better.
            is_other = media_type.startswith("audio/") and not file_name.lower().endswith(_SHOWN_BY_BYTES)
            content_type = media_type if is_other else ""
            stored = await uploads.store_upload(
                context, store, visitor.client, file_name.replace("\x00", "")[-255:], body, content_type
            )
        reference = f"upload:{stored.id}"
        sent.digests[reference] = stored.sha256
        return reference

    form, sent.faults = await read_parts(request, MOST_FORM_BYTES, store_file)
    check_token(form.pop("csrf", ""), visitor)
    if form.get(_COVERED, "").startswith("upload:") and not form.get(_ACTION):
        form[_ACTION] = "upload_cover"
    return form, sent


async def _form_page(
    context: Context,
    kind: str,
    visitor: Visitor,
    given: Mapping[str, str],
    error: InvalidRequest | None = None,
    left_out: Sequence[str] = (),
    like: Document | None = None,
) -> Response:
    fields = kind_forms.fields_of(kind)
    faults = dict(error.faults) if error else {}
    beside = {kind_forms.PREFIX + field.name for field in fields} | {"reference"}
    others = [f"{place}: {fault}" for place, fault in faults.items() if place not in beside]
    if error is not None and not faults:
        others = [error.detail]
    return page(
        "try.html",
        422 if error else 200,
        visitor=visitor,
        here="try",
        kind=kind,
        kinds=list(KINDS),
        fields=fields,
        prefix=kind_forms.PREFIX,
        choices=await choices_of(context, visitor.client, kind, fields),
        chosen=kind_forms.CHOSEN,
        given=given,
        left_out=left_out,
        like=like,
        faults=faults,
        others=others,
        # Where uploads go, None where nothing is kept.
        uploads=f"{api_reference.PREFIX}/v1/uploads" if context.files is not None else None,
        most_upload_bytes=uploads.MOST_BYTES,
        csrf_header=CSRF_HEADER,
        file_prefix=FILE_PREFIX,
        multipart=MULTIPART,
    )


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise NotFound("there is no such kind")
    return kind
