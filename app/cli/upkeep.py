"""The commands for what is kept: the audit, and what is old."""

import json
from typing import Annotated

import typer

from app.audit import audit
from app.cli.connect import print_counts, print_json, with_database
from app.drift import log as drift_log
from app.operations import retention
from app.rules.timing import rfc3339
from app.runtime.clock import Clock


def list_acts(limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the newest first.")] = 50) -> None:
    """List what admins did, one act a line: when, who, what, to what, and the rest as JSON."""
    for one in with_database(lambda db: audit.page(db, None, limit)):
        detail = json.dumps(one["detail"])
        typer.echo(f"{rfc3339(one['at'])}\t{one['actor']}\t{one['action']}\t{one['target'] or '-'}\t{detail}")


def list_drift(
    as_json: Annotated[bool, typer.Option("--json", help="As the API has it.")] = False,
) -> None:
    """List what the vendor said that nobody knew, seen last first: a line each, with how often, first and last."""
    found = with_database(drift_log.listed)
    if as_json:
        print_json({"data": found, "next_cursor": None})
        return
    for one in found:
        seen = f"{one['count']}\t{one['first_seen_at']}\t{one['last_seen_at']}"
        typer.echo(f"{one['sort']}\t{one['family'] or '-'}\t{seen}\t{one['name']}")


def purge(
    older_than: Annotated[float, typer.Option(min=0, help="Days since it ended. Idempotency keys stay a day.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and delete nothing.")] = False,
) -> None:
    """Delete what ended long ago, as the background loop does by itself. Prints rows by table."""
    by = audit.command_line()
    print_counts(with_database(lambda db: retention.purge(db, Clock(), by, older_than, dry_run=dry_run)))
