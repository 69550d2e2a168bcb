"""The routes for admins that hold and release submissions, show what holds them, and recover after a restore."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr

from app.clients.auth import TheAdmin, TheContext, actor_of
from app.rules.status import TaskStatus
from app.submissions import hold_by_hand
from app.submissions.recover_after_restore import recover
from app.web.answers import PROBLEMS, json_answer
from app.web.bodies import documented, parse, read_json
from app.web.parameters import RequestTime


class HoldRequest(BaseModel):
    """Why, in a person's words: shown to admins while it lasts."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[StrictStr, Field(max_length=hold_by_hand.MOST_REASON_CHARS)] = ""


class RecoverRequest(BaseModel):
    """`sent_since`: the moment up to which the restored database is complete, or an earlier one; `accepted_before`:
    the moment of the recovery, now if it is left out."""

    model_config = ConfigDict(extra="forbid")

    sent_since: RequestTime
    accepted_before: RequestTime | None = None
    dry_run: StrictBool = False


class Recovered(BaseModel):
    """`tasks`: how many became `unconfirmed`, or would. `held_by_hand`: whether nothing is sent meanwhile."""

    tasks: int
    dry_run: bool
    sent_since: datetime
    accepted_before: datetime
    held_by_hand: bool


class Slot(BaseModel):
    """A task that the vendor may have. `until`: how long it counts, null for until it ends."""

    task_id: str
    client: str
    status: TaskStatus
    since: datetime
    until: datetime | None


class WaitingClient(BaseModel):
    client: str
    count: int
    oldest_at: datetime
    oldest_age_s: float


class Underneath(BaseModel):
    """Why something stands still. `next_probe_at` is null while a probe is out (its answer is awaited until
    `until`), and while a hand holds."""

    reason: str
    detail: str | None
    since: datetime
    until: datetime | None
    next_probe_at: datetime | None


class Why(Underneath):
    """`underneath`: what else holds while a hand does."""

    underneath: Underneath | None


class StandingStill(BaseModel):
    """Null for what goes on."""

    submissions: Why | None
    queries: Why | None


class HeldModel(BaseModel):
    """A kind and model (null: none is named) that the vendor does not offer. `waiting`: its tasks, as far as they
    were found; `next_probe_at` is null while a probe is out."""

    kind: str
    model: str | None
    reason: str
    detail: str | None
    since: datetime
    next_probe_at: datetime | None
    waiting: int


class Submissions(BaseModel):
    """Who holds each slot (the first 1000), who waits, and why things stand still: all, or some kinds and models."""

    max_in_flight: int
    in_flight: int
    slots: list[Slot]
    waiting: list[WaitingClient]
    standing_still: StandingStill
    held_models: list[HeldModel]


router = APIRouter(prefix="/v1/submissions", responses=PROBLEMS, tags=["Admin: submissions"])


@router.get("", response_model=Submissions, summary="Who holds the slots, who waits, and why")
async def get_submissions(_admin: TheAdmin, context: TheContext) -> Response:
    """Who holds each slot at the vendor, who waits for one, and why submissions or queries stand still."""
    return json_answer(await hold_by_hand.show(context))


@router.post(
    "/hold",
    response_model=Submissions,
    openapi_extra=documented(HoldRequest, {"reason": "maintenance at the vendor"}, required=False),
    summary="Hold submissions",
)
async def hold_submissions(request: Request, admin: TheAdmin, context: TheContext) -> Response:
    """Send nothing, no probe either, until it is released by hand; also over restarts. What is being sent now is
    still sent. The body may be left out."""
    body = parse(HoldRequest, await read_json(request, default={}))
    return json_answer(await hold_by_hand.hold(context, actor_of(admin), body.reason))


@router.post("/release", response_model=Submissions, summary="Release submissions")
async def release_submissions(admin: TheAdmin, context: TheContext) -> Response:
    """End the hold by hand. What the vendor is to blame for and stands still underneath holds again. Where no hand
    holds, the next probe is due now, and kinds and models that are held all go."""
    return json_answer(await hold_by_hand.release(context, actor_of(admin)))


@router.post(
    "/recover",
    response_model=Recovered,
    openapi_extra=documented(RecoverRequest, {"sent_since": "2026-01-31T00:00:00Z", "dry_run": True}),
    summary="Trust the queue no more after a restore",
)
async def recover_submissions(request: Request, admin: TheAdmin, context: TheContext) -> Response:
    """After a restore or a failover of the database: every task that it shows as `queued` or `submitting` and that
    was accepted before the recovery may have been sent already, and becomes `unconfirmed` instead of being sent
    again. Hold submissions first. The same `sent_since` again changes nothing more; with `dry_run` they are only
    counted."""
    body = parse(RecoverRequest, await read_json(request))
    document = await recover(context, actor_of(admin), body.sent_since, body.accepted_before, dry_run=body.dry_run)
    return json_answer(document)
