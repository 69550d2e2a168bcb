"""All pages of the console."""

from fastapi import APIRouter

from app.console import (
    api_reference,
    clients,
    holds,
    logs,
    overview,
    sign_in,
    task_actions,
    task_files,
    task_page,
    tasks,
    try_it,
)

router = APIRouter(include_in_schema=False)
for one in (
    sign_in.router,
    overview.router,
    tasks.router,
    task_files.router,
    task_page.router,
    task_actions.router,
    try_it.router,
    logs.router,
    holds.router,
    clients.router,
    api_reference.router,
    api_reference.calls,
    sign_in.missing,
):
    router.include_router(one)
