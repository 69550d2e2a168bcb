"""What commands print."""

import json
from datetime import datetime
from typing import Any, NoReturn

import typer

from app.rules.timing import rfc3339


def fail(message: str) -> NoReturn:
    """End the command with exit code 1."""
    typer.echo(message, err=True)
    raise SystemExit(1)


def print_json(document: dict[str, Any]) -> None:
    """A document, times as everywhere."""
    typer.echo(json.dumps(document, indent=2, default=rfc3339))


def print_counts(counts: dict[str, int]) -> None:
    """Rows by table, one a line."""
    for table, rows in counts.items():
        typer.echo(f"{table}\t{rows}")


def when(at: datetime | None) -> str:
    """A moment that may not have come."""
    return rfc3339(at) or "never"
