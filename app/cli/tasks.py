"""The commands of single tasks."""

from typing import Annotated
from uuid import UUID

import typer

from app.cli.connect import with_context
from app.cli.printing import fail
from app.flows import audit, verify
from app.flows.context import Context
from app.flows.resolve import resolve_not_sent, resolve_sent

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


@app.command("verify")
def verify_tasks(
    task_ids: Annotated[list[UUID] | None, typer.Argument(metavar="[ID]...")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every task there is.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Join in what is missing; nothing is erased.")] = False,
    notify: Annotated[bool, typer.Option("--notify", help="Tell the clients what changes.")] = False,
) -> None:
    """Make tasks' items anew from their records, and compare. Exit code 1 if a difference is left."""
    if bool(task_ids) == every:
        fail("Name the tasks, or say --all.")

    async def story(context: Context) -> bool:
        seen = faults = 0
        by, chosen = audit.command_line(), None if every else task_ids
        async for found in verify.verify_some(context, by, chosen, repair=repair, notify=notify):
            seen += 1
            faults += found.fault
            for line in verify.lines(found):
                typer.echo(line)
        typer.echo(f"{seen} verified, {faults} with differences")
        return faults > 0

    if with_context(story):
        raise SystemExit(1)
