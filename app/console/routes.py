"""All pages of the console."""

from fastapi import APIRouter

from app.console import api, holds, logs, overview, sign_in, tasks, try_it

router = APIRouter(include_in_schema=False)
for one in (
    sign_in.router,
    overview.router,
    tasks.router,
    try_it.router,
    logs.router,
    holds.router,
    api.router,
    api.calls,
    sign_in.missing,
):
    router.include_router(one)
