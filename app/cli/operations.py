"""Commands of the audit log, drift, the vendor's account, retention, and links to the console."""

from typing import Annotated, Final

import typer

from app.cli.output import print_json, print_page, print_record, print_table
from app.cli.run_on_database import with_context, with_database
from app.cli.shared_options import AsJson, Cursor, Limit

ACTS: Final = {"AT": "at", "ACTOR": "actor", "ACTION": "action", "TARGET": "target", "DETAIL": "detail"}
DRIFT: Final = {
    "SORT": "sort",
    "FAMILY": "family",
    "COUNT": "count",
    "FIRST SEEN": "first_seen_at",
    "LAST SEEN": "last_seen_at",
    "NAME": "name",
}


def list_acts(limit: Limit = 50, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """List what admins did: when, who, what, to what, and the rest."""
    from app.audit import audit
    from app.web import cursors

    filters = ("audit",)
    before_id = cursors.read(cursor, filters)
    acts = with_database(lambda db: audit.page(db, before_id, limit + 1))
    print_page(cursors.page(acts, limit, filters), ACTS, as_json=as_json)


def list_drift(as_json: AsJson = False) -> None:
    """List what the vendor said that nobody knew, seen last first, with how often it was seen, first and last."""
    from app.drift import log

    print_page({"data": with_database(log.listed), "next_cursor": None}, DRIFT, as_json=as_json)


def show_account(as_json: AsJson = False) -> None:
    """Ask the vendor for the account's balance."""
    from app.operations.account import Account

    account = with_context(lambda context: Account(context).get())
    if as_json:
        print_json(account)
    else:
        print_record({name: account[name] for name in ("balance", "as_of", "vendor")})


def console_link(
    name: Annotated[str, typer.Argument(help="The client that it signs in as.")] = "bootstrap",
    url: Annotated[
        str, typer.Option(help="Where a browser reaches the gateway.", show_default=True)
    ] = "http://127.0.0.1:8000",
) -> None:
    """Print a link that signs in to the console once, within a quarter of an hour."""
    from app.audit import audit
    from app.clients import tickets
    from app.runtime.clock import Clock

    actor = audit.command_line()
    issued = with_database(lambda db: tickets.issue_for_console(db, Clock(), actor, name))
    typer.echo(tickets.link(url, issued))


def purge(
    older_than: Annotated[float, typer.Option(min=0, help="Days since it ended. Idempotency keys stay a day.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and delete nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete what ended long ago, as the background loop does by itself. Prints rows by table."""
    from app.audit import audit
    from app.operations import retention
    from app.runtime.clock import Clock

    actor = audit.command_line()
    counts = with_database(lambda db: retention.purge(db, Clock(), actor, older_than, dry_run=dry_run))
    if as_json:
        print_json({"deleted": counts, "dry_run": dry_run})
    else:
        print_table(("TABLE", "ROWS"), counts.items())
