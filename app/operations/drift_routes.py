"""Drift, for admins: what the vendor said that nobody knew."""

from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from app.clients.auth import TheAdmin, TheContext
from app.drift import gather
from app.web.answers import PROBLEMS, json_answer

Sort = Literal["field", "event", "status", "code", "shape", "header", "network"]


class Drift(BaseModel):
    """One name that nobody knew. `family` is null where it belongs to none; `(others)` counts what there was no room
    for."""

    sort: Sort
    family: str | None = None
    name: str
    first_seen_at: datetime
    last_seen_at: datetime
    count: int


class DriftPage(BaseModel):
    data: list[Drift]
    next_cursor: str | None = None


router = APIRouter(prefix="/v1/drift", responses=PROBLEMS)


@router.get("", response_model=DriftPage, summary="List what the vendor said that nobody knew")
async def list_drift(_admin: TheAdmin, context: TheContext, sort: Sort | None = None) -> Response:
    """Fields, events, statuses, business codes, list shapes and headers that are not documented, and the networks that
    callbacks come from: names only, what was seen last first. There are a thousand at most, so it is one page."""
    return json_answer({"data": await gather.listed(context.db, sort), "next_cursor": None})
