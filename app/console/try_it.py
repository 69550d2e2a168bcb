"""Try it: a form for each kind, which submits a task and leads to its page."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from app.app_context import Context
from app.archive import uploads
from app.clients.auth import TheContext
from app.console import api_reference, kind_forms
from app.console.pages import PageRoute, page, see
from app.console.signed_in import CSRF_HEADER, TheForm, TheVisitor, Visitor
from app.console.try_choices import choices_of
from app.database.database import dumps
from app.errors import InvalidRequest, NotFound
from app.submissions.accept_task import accept, digest_of
from app.submissions.task_requests import check_task, idempotent_request
from app.tempolor.kinds import KINDS
from app.web.bodies import refuse_secrets

router = APIRouter(route_class=PageRoute, include_in_schema=False)
FIRST: Final = "song.generate"
_EXAMPLES: Final = {
    "song.generate": {"prompt": "slow pop ballad, piano, a harbour at night", "model": "tempolor-latest"},
    "instrumental.generate": {"prompt": "house, 120 BPM, A minor", "model": "TemPolor i4"},
    "lyrics.generate": {"prompt": "rain on a tin roof"},
}
"""What the form of a kind is filled with at first."""


@router.get("/console/try")
async def try_first(_visitor: TheVisitor) -> Response:
    """The form that most begin with."""
    return see(f"/console/try/{FIRST}")


@router.get("/console/try/{kind}")
async def try_page(request: Request, kind: str, visitor: TheVisitor, context: TheContext) -> Response:
    """The form of a kind; its fields may be filled by the address, as in `?params.item_id=`."""
    example = {kind_forms.PREFIX + name: value for name, value in _EXAMPLES.get(_known(kind), {}).items()}
    given = {**example, **request.query_params, "once": str(context.ids())}
    return await _form_page(context, kind, visitor, given)


@router.post("/console/try/{kind}")
async def submit(request: Request, kind: str, visitor: TheVisitor, form: TheForm, context: TheContext) -> Response:
    """Submit what the form says. One that is sent twice makes one task; what is wrong with it is shown beside its
    fields."""
    asked: dict[str, Any] = {"kind": _known(kind), "params": kind_forms.params_of(kind, form)}
    if reference := form.get("reference", "").strip():
        asked["reference"] = reference
    digest = digest_of(asked)
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


async def _form_page(
    context: Context, kind: str, visitor: Visitor, given: Mapping[str, str], error: InvalidRequest | None = None
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
        given=given,
        faults=faults,
        others=others,
        # Where uploads go, None where nothing is kept.
        uploads=f"{api_reference.PREFIX}/v1/uploads" if context.files is not None else None,
        most_upload_bytes=uploads.MOST_BYTES,
        csrf_header=CSRF_HEADER,
    )


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise NotFound("there is no such kind")
    return kind
