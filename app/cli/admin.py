"""Commands of the audit log, drift and retention."""

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
    for act in with_database(lambda db: audit.page(db, None, limit)):
        detail = json.dumps(act["detail"])
        typer.echo(f"{rfc3339(act['at'])}\t{act['actor']}\t{act['action']}\t{act['target'] or '-'}\t{detail}")


def list_drift(
    as_json: Annotated[bool, typer.Option("--json", help="As the API has it.")] = False,
) -> None:
    """List what the vendor said that nobody knew, seen last first: a line each, with how often, first and last."""
    entries = with_database(drift_log.listed)
    if as_json:
        print_json({"data": entries, "next_cursor": None})
        return
    for entry in entries:
        seen = f"{entry['count']}\t{entry['first_seen_at']}\t{entry['last_seen_at']}"
        typer.echo(f"{entry['sort']}\t{entry['family'] or '-'}\t{seen}\t{entry['name']}")


def purge(
    older_than: Annotated[float, typer.Option(min=0, help="Days since it ended. Idempotency keys stay a day.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and delete nothing.")] = False,
) -> None:
    """Delete what ended long ago, as the background loop does by itself. Prints rows by table."""
    by = audit.command_line()
    print_counts(with_database(lambda db: retention.purge(db, Clock(), by, older_than, dry_run=dry_run)))
