"""Run short commands on the configured database, beside whatever else uses it, and print their results."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, NoReturn, TypeVar

import typer

from app.context import Context
from app.database.connect import is_sqlite, name_of, open_database, parse_url
from app.database.database import Database
from app.database.migrate import check_at_head
from app.database.sqlite_file import find_file
from app.rules.timing import rfc3339
from app.runtime.logging import set_up
from app.settings import database_settings, load_settings
from app.wiring import context_of

T = TypeVar("T")


def with_database(story: Callable[[Database], Awaitable[T]]) -> T:
    """Run one story on the configured database. It creates none: where there is none a setting is missing, and nobody
    would ever read what was written into a fresh one."""
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


def with_context(story: Callable[[Context], Awaitable[T]]) -> T:
    """Run one story with a context. Other processes find what it changed at the next iteration of their loops."""
    settings = load_settings()
    set_up(settings.log_format, settings.log_level)

    async def run(db: Database) -> T:
        context = context_of(settings, db)
        try:
            return await story(context)
        finally:
            await context.vendor.close()

    return with_database(run)


def require_database(url: str) -> None:
    """Check that a SQLite file exists. Raises ``NoDatabase``. (PostgreSQL reports it itself.)"""
    parsed = parse_url(url)
    if is_sqlite(parsed):
        find_file(parsed)


def print_database(url: str) -> None:
    """Print to standard error which database a command works on."""
    typer.echo(f"database: {name_of(parse_url(url))}", err=True)


def fail(message: str) -> NoReturn:
    """End the command with exit code 1."""
    typer.echo(message, err=True)
    raise SystemExit(1)


def print_json(document: dict[str, Any]) -> None:
    """Print a document as JSON, times as RFC 3339."""
    typer.echo(json.dumps(document, indent=2, default=rfc3339))


def print_counts(counts: dict[str, int]) -> None:
    """Print counts of rows by table, one a line."""
    for table, rows in counts.items():
        typer.echo(f"{table}\t{rows}")


def when(at: datetime | None) -> str:
    """Write a time as RFC 3339, None as "never"."""
    return rfc3339(at) or "never"
