"""Commands of the outbound log: notifications to clients, and sending them again."""

from typing import Annotated, Final
from uuid import UUID

import typer

from app.cli.output import fail, print_json, print_page
from app.cli.run_on_database import with_context
from app.cli.shared_options import AsJson, Cursor, Limit, time_of

app = typer.Typer(no_args_is_help=True, help="The outbound log: notifications to clients.")

STATUSES: Final = ("pending", "delivered", "dead")
COLUMNS: Final = {
    "ID": "id",
    "CREATED": "created_at",
    "TYPE": "type",
    "STATUS": "status",
    "ATTEMPTS": "attempts",
    "ANSWER": "last_status",
    "ERROR": "last_error",
    "CLIENT": "client",
    "TASK": "task_id",
    "URL": "url",
}


@app.command("list")
def list_notifications(
    client: Annotated[str | None, typer.Option(help="To this client.")] = None,
    task: Annotated[UUID | None, typer.Option(help="Of this task.")] = None,
    status: Annotated[str | None, typer.Option(help=", ".join(STATUSES))] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List notifications, newest first, with how often each was tried and what its receiver said last."""
    from app.notifications import outbound_log
    from app.notifications.outbox import NotificationFilters
    from app.web import cursors

    if status is not None and status not in STATUSES:
        fail(f"There is no status {status!r}; there are {', '.join(STATUSES)}.")
    bound_to = ("notifications", client, task, status)
    before_id = cursors.read(cursor, bound_to)
    filters = NotificationFilters(client_name=client, task_id=task, status=status, before_id=before_id)
    notifications = with_context(lambda context: outbound_log.list_page(context, filters, limit + 1))
    print_page(cursors.page(notifications, limit, bound_to), COLUMNS, as_json=as_json)


@app.command("redeliver")
def redeliver(
    notification_id: Annotated[UUID | None, typer.Argument(metavar="[ID]", help="One, whatever became of it.")] = None,
    client: Annotated[str | None, typer.Option(help="All dead ones of this client.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="That were written since then (RFC 3339).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the dead ones, and send none.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the dead ones are sent.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send a notification again, or all dead ones of a client since a time, once their number was shown and agreed to.
    The running gateway posts them."""
    if notification_id is not None and client is None and since is None:
        _redeliver_one(notification_id, as_json=as_json)
    elif notification_id is None and client is not None and since is not None:
        _redeliver_dead(client, since, dry_run=dry_run, yes=yes, as_json=as_json)
    else:
        fail("Give either the ID of a notification, or --client NAME with --since TIME.")


def _redeliver_one(notification_id: UUID, *, as_json: bool) -> None:
    from app.audit import audit
    from app.notifications import outbound_log

    actor = audit.command_line()
    found = with_context(lambda context: outbound_log.redeliver(context, actor, notification_id, None))
    if as_json:
        print_json(found)
    else:
        typer.echo("It is due now, and posted by the running gateway.")


def _redeliver_dead(client: str, since: str, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    from app.app_context import Context
    from app.audit import audit
    from app.clients.clients import find_active
    from app.notifications import outbound_log

    actor, begin = audit.command_line(), time_of(since)

    async def sent_again(context: Context) -> int:
        await find_active(context.db, client)
        count = await outbound_log.redeliver_dead(context, actor, client, begin, dry_run=True)
        if dry_run or not count:
            return count
        typer.echo(f"{count} dead notifications of {client!r} since {since}.", err=True)
        if not yes:
            typer.confirm("Send them again?", abort=True, err=True)
        return await outbound_log.redeliver_dead(context, actor, client, begin, dry_run=False)

    count = with_context(sent_again)
    if as_json:
        print_json({"count": count, "dry_run": dry_run})
    else:
        typer.echo(f"{count} dead." if dry_run else f"{count} are due now, and posted by the running gateway.")
