"""Commands of single tasks."""

from typing import Annotated
from uuid import UUID

import typer

from app.audit import audit
from app.cli.connect import fail, with_context
from app.submissions.resolve import resolve_not_sent, resolve_sent

app = typer.Typer(no_args_is_help=True, help="Tasks, by hand.")


@app.command("resolve")
def resolve_task(
    task_id: Annotated[UUID, typer.Argument(metavar="ID", help="An unconfirmed task.")],
    item: Annotated[str | None, typer.Option(help="The vendor has it: the id of its item.")] = None,
    not_sent: Annotated[bool, typer.Option("--not-sent", help="The vendor does not have it: send it again.")] = False,
) -> None:
    """Settle a task whose submission's answer was lost, once you have looked at the vendor what became of it."""
    if (item is not None) == not_sent:
        fail("Give either --item ITEM_ID or --not-sent.")
    by = audit.command_line()
    if item is not None:
        with_context(lambda context: resolve_sent(context, by, task_id, item))
        typer.echo("Accepted: the item is the task's, and is asked about.")
    else:
        with_context(lambda context: resolve_not_sent(context, by, task_id))
        typer.echo("Queued: the task is sent again.")
