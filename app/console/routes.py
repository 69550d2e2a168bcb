"""All pages of the console."""

from fastapi import APIRouter

from app.console import logs, overview, sign_in, tasks, try_it

router = APIRouter(include_in_schema=False)
for one in (sign_in.router, overview.router, tasks.router, try_it.router, logs.router, sign_in.missing):
    router.include_router(one)
