"""How a short command reaches the database, beside whatever else uses it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from app import settings as settings_module
from app.flows.context import Context
from app.settings import load_settings
from app.storage.connect import is_sqlite, open_database, parse_url
from app.storage.database import Database
from app.storage.migrate import check_at_head, migrate
from app.telemetry.logs import set_up
from app.wiring import context_of

T = TypeVar("T")


def with_database(story: Callable[[Database], Awaitable[T]]) -> T:
    """Run one story on the configured database, beside whatever else uses it."""
    url = settings_module.database_settings().database_url.get_secret_value()
    if is_sqlite(parse_url(url)):
        migrate(url)

    async def run() -> T:
        db = open_database(url)
        try:
            await db.read(check_at_head)
            return await story(db)
        finally:
            await db.close()

    return asyncio.run(run())


def with_context(story: Callable[[Context], Awaitable[T]]) -> T:
    """Run one story with all that flows work with, beside whatever else uses the database. Other processes find
    what it changed at the next turn of their loops."""
    settings = load_settings()
    set_up(settings.log_format, settings.log_level)

    async def run(db: Database) -> T:
        context = context_of(settings, db)
        try:
            return await story(context)
        finally:
            await context.vendor.close()

    return with_database(run)
