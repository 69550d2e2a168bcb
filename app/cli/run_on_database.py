"""Run a short command on the configured database, beside whatever else uses it."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from app.app_context import Context
    from app.database.database import Database

T = TypeVar("T")


def with_database(story: "Callable[[Database], Awaitable[T]]") -> T:
    """Run one story on the configured database. It creates none: where there is none a setting is missing, and nobody
    would ever read what was written into a fresh one."""
    import asyncio

    from app.database.connect import open_database
    from app.database.schema_revision import check_at_head
    from app.settings import database_settings

    url = database_settings().database_url.get_secret_value()
    require_database(url)
    print_database(url)

    async def run() -> T:
        db = open_database(url)
        try:
            await db.read(check_at_head)
            return await story(db)
        finally:
            await db.close()

    return asyncio.run(run())


def with_context(story: "Callable[[Context], Awaitable[T]]") -> T:
    """Run one story with a context. Other processes find what it changed at the next iteration of their loops."""
    from app.runtime.logging import set_up
    from app.settings import load_settings
    from app.wiring import context_of

    settings = load_settings()
    set_up(settings.log_format, settings.log_level)

    async def run(db: "Database") -> T:
        context = context_of(settings, db)
        try:
            return await story(context)
        finally:
            await context.vendor.close()

    return with_database(run)


def require_database(url: str) -> None:
    """Check that a SQLite file exists. Raises ``NoDatabase``. (PostgreSQL reports it itself.)"""
    from app.database.connect import is_sqlite, parse_url
    from app.database.sqlite_file import find_file

    parsed = parse_url(url)
    if is_sqlite(parsed):
        find_file(parsed)


def print_database(url: str) -> None:
    """Print to standard error which database a command works on."""
    from app.database.connect import name_of, parse_url

    typer.echo(f"database: {name_of(parse_url(url))}", err=True)
