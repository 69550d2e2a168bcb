"""Routes of liveness, readiness, backlog and metrics, without an API key."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from app.operations.health import Health
from app.runtime.metrics import registry as metrics_registry
from app.web.answers import json_answer
from app.web.services import service

router = APIRouter(tags=["Health"])
TheHealth = Annotated[Health, service("health")]


class Alive(BaseModel):
    status: Literal["ok"]


class ReadinessWarning(BaseModel):
    """`code` is stable, `detail` for people."""

    code: str
    detail: str


class Readiness(BaseModel):
    """`checks`: the result of each check. `warnings`: what should be mended although the process is ready. `reason`:
    why the database cannot be used."""

    ready: bool
    checks: dict[str, str]
    warnings: list[ReadinessWarning]
    reason: str | None


class Backlog(BaseModel):
    """Stuck work in numbers; what is held on purpose does not count as overdue."""

    stuck: bool
    overdue_queries: int
    overdue_submissions: int
    overdue_timers: int
    undelivered_notifications: int
    stalled_loops: list[str]
    oldest_s: dict[str, float]
    thresholds_s: dict[str, float]
    standing_still: dict[str, Any]
    held_models: list[dict[str, Any]]
    clock_skew_s: float


@router.get("/healthz", response_model=Alive, summary="Alive")
async def get_health() -> Response:
    """The process answers. Touches nothing."""
    return json_answer({"status": "ok"})


@router.get(
    "/readyz",
    response_model=Readiness,
    summary="Ready",
    responses={503: {"model": Readiness, "description": "Not ready: send nothing here"}},
)
async def get_readiness(health: TheHealth) -> Response:
    """The database is reachable and takes writes, the schema is at head (or was moved on by a newer release), and the
    process is not draining. `reason` says why the database cannot be used, if it cannot. `warnings` is what should be
    mended although the process is ready: `database_unsafe`, `callback_secret_missing`, `callbacks_unreachable`,
    `clock_skew`."""
    readiness = await health.readiness()
    return json_answer(readiness, 200 if readiness["ready"] else 503)


@router.get(
    "/backlog",
    response_model=Backlog,
    summary="Stuck work",
    responses={503: {"model": Backlog, "description": "Work is stuck"}},
)
async def get_backlog(health: TheHealth) -> Response:
    """503 when work is stuck, with the numbers."""
    stuck_work = await health.backlog()
    return json_answer(stuck_work, 503 if stuck_work["stuck"] else 200)


@router.get(
    "/metrics",
    response_class=Response,
    summary="Prometheus metrics",
    responses={200: {"description": "Prometheus' text format", "content": {"text/plain": {}}}},
)
async def get_metrics(health: TheHealth) -> Response:
    """Metrics in Prometheus' text format."""
    health.note_loops()
    return Response(generate_latest(metrics_registry), media_type=CONTENT_TYPE_LATEST)
