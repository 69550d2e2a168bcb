"""Commands of tasks: read, submit, retry, cancel, resolve."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import typer

from app.cli.output import fail, print_json, print_page, print_record, print_table
from app.cli.run_on_database import with_context
from app.cli.shared_options import AsJson, Cursor, Limit, complete_kind, time_of
from app.rules.status import TaskStatus

if TYPE_CHECKING:
    from app.documents.document import Document

app = typer.Typer(no_args_is_help=True, help="Tasks: list, read, submit, and settle by hand.")

TaskId = Annotated[UUID, typer.Argument(metavar="ID", help="The id of a task.")]

COLUMNS: Final = {
    "ID": "id",
    "KIND": "kind",
    "STATUS": "status",
    "CREATED": "created_at",
    "FINISHED": "finished_at",
    "CLIENT": "client",
    "REFERENCE": "reference",
}
ENTRIES: Final = {"SEQ": "seq", "AT": "at", "TYPE": "type", "VERSION": "version", "DETAIL": "detail"}
ITEMS: Final = ("ITEM", "STATUS", "SECONDS", "ARTIFACTS", "TITLE")
LAST: Final = ("params", "metadata")
"""Of a task, the fields that may be long."""


@app.command("list")
def list_tasks(
    status: Annotated[list[TaskStatus] | None, typer.Option(help="Of this status; may be given several times.")] = None,
    kind: Annotated[str | None, typer.Option(help="Of this kind.", autocompletion=complete_kind)] = None,
    reference: Annotated[str | None, typer.Option(help="With this reference.")] = None,
    client: Annotated[str | None, typer.Option(help="Of this client.")] = None,
    created_after: Annotated[str | None, typer.Option(metavar="TIME", help="RFC 3339, with its offset.")] = None,
    created_before: Annotated[str | None, typer.Option(metavar="TIME", help="RFC 3339, with its offset.")] = None,
    finished_after: Annotated[str | None, typer.Option(metavar="TIME", help="RFC 3339, with its offset.")] = None,
    finished_before: Annotated[str | None, typer.Option(metavar="TIME", help="RFC 3339, with its offset.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List tasks, newest first, without lyrics and what the vendor said. Of very large ones a page has fewer."""
    from dataclasses import replace

    from app.documents import read
    from app.tasks.task_rows import TaskFilters
    from app.web import cursors

    filters = TaskFilters(
        client_name=client,
        statuses=tuple(sorted(one.value for one in status or ())),
        kind=kind,
        reference=reference,
        created_after=time_of(created_after),
        created_before=time_of(created_before),
        finished_after=time_of(finished_after),
        finished_before=time_of(finished_before),
    )
    before_id = cursors.read(cursor, filters)
    tasks, more = with_context(
        lambda context: read.task_list(context, replace(filters, before_id=before_id), limit, summary=True)
    )
    next_cursor = cursors.make(tasks[-1]["id"], filters) if more else None
    print_page({"data": tasks, "next_cursor": next_cursor}, COLUMNS, as_json=as_json)


@app.command("show")
def show_task(task_id: TaskId, as_json: AsJson = False) -> None:
    """Show a task with its items; as JSON with all that the vendor said, and the links."""
    from app.documents import read

    _print_task(with_context(lambda context: read.task(context, task_id, None)), as_json=as_json)


@app.command("timeline")
def show_timeline(
    task_id: TaskId,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the oldest first.")] = 1000,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """Show everything that happened to a task, oldest first."""
    from app.documents import read
    from app.web import cursors

    filters = ("timeline", task_id)
    after_seq = cursors.read_seq(cursor, filters)
    entries, last_seq = with_context(lambda context: read.task_timeline(context, task_id, None, after_seq, limit))
    next_cursor = cursors.make_seq(last_seq, filters) if last_seq else None
    print_page({"data": entries, "next_cursor": next_cursor}, ENTRIES, as_json=as_json)


@app.command("submit")
def submit_task(
    kind: Annotated[str, typer.Argument(help="What is to be made, as song.generate.", autocompletion=complete_kind)],
    client: Annotated[str, typer.Option(help="Whose task it is.")],
    params: Annotated[
        str, typer.Option(metavar="JSON", help="A JSON object; @FILE reads it from a file, - from standard input.")
    ],
    reference: Annotated[str | None, typer.Option(help="The client's own name for it.")] = None,
    metadata: Annotated[str | None, typer.Option(metavar="JSON", help="A JSON object, given like --params.")] = None,
    webhook_url: Annotated[str | None, typer.Option(help="Where its milestones are posted.")] = None,
    webhook_event: Annotated[
        list[str] | None, typer.Option(metavar="TYPE", help="Only this type of them; may be given several times.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key and task again make no second task.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Submit a task for a client, and print its id. It is checked as in the API, and sent by the running gateway."""
    from app.audit import audit
    from app.submissions.check_requests import submit_by_hand

    given = {"reference": reference, "webhook_url": webhook_url, "webhook_events": webhook_event or None}
    request = {"kind": kind, "params": _json_of("params", params)}
    request |= {name: value for name, value in given.items() if value is not None}
    if metadata is not None:
        request["metadata"] = _json_of("metadata", metadata)
    actor = audit.command_line()
    task, replayed = with_context(lambda context: submit_by_hand(context, actor, client, request, idempotency_key))
    if replayed:
        typer.echo("This idempotency key made the task before.", err=True)
    _print_id(task, as_json=as_json)


@app.command("retry")
def retry_task(task_id: TaskId, as_json: AsJson = False) -> None:
    """Submit an ended task again as a new one of the same client, and print its id."""
    from app.audit import audit
    from app.submissions.accept_task import retry

    actor = audit.command_line()
    [task] = with_context(lambda context: retry(context, actor, None, task_id)).documents
    _print_id(task, as_json=as_json)


@app.command("cancel")
def cancel_task(task_id: TaskId, as_json: AsJson = False) -> None:
    """End a task that is queued. One that is being sent, or was sent, runs on."""
    from app.app_context import Context
    from app.audit import audit
    from app.documents import read
    from app.submissions.cancel import cancel

    actor = audit.command_line()

    async def canceled(context: Context) -> "Document":
        await cancel(context, actor, task_id, None)
        return await read.task(context, task_id, None)

    task = with_context(canceled)
    if as_json:
        print_json(task)
    else:
        typer.echo("Canceled: the task is not sent.")


@app.command("resolve")
def resolve_task(
    task_id: Annotated[UUID, typer.Argument(metavar="ID", help="An unconfirmed task.")],
    item: Annotated[str | None, typer.Option(help="The vendor has it: the id of its item.")] = None,
    not_sent: Annotated[bool, typer.Option("--not-sent", help="The vendor does not have it: send it again.")] = False,
) -> None:
    """Settle a task whose submission's answer was lost, once you have looked at the vendor what became of it."""
    from app.audit import audit
    from app.submissions.resolve import resolve_not_sent, resolve_sent

    if (item is not None) == not_sent:
        fail("Give either --item ITEM_ID or --not-sent.")
    actor = audit.command_line()
    if item is not None:
        with_context(lambda context: resolve_sent(context, actor, task_id, item))
        typer.echo("Accepted: the item is the task's, and is asked about.")
    else:
        with_context(lambda context: resolve_not_sent(context, actor, task_id))
        typer.echo("Queued: the task is sent again.")


def _print_id(task: "Document", *, as_json: bool) -> None:
    if as_json:
        print_json(task)
    else:
        typer.echo(task["id"])


def _print_task(task: "Document", *, as_json: bool) -> None:
    if as_json:
        print_json(task)
        return
    fields = {name: value for name, value in task.items() if name not in (*LAST, "items")}
    fields |= {name: task[name] for name in LAST}
    print_record({name: value for name, value in fields.items() if value not in (None, [], {})})
    print_table(ITEMS, [_item_row(one) for one in task["items"]])


def _item_row(item: "Document") -> list[Any]:
    artifacts = ", ".join(f"{name} {one['status']}" for name, one in item["artifacts"].items())
    return [item["item_id"], item["status"], item["duration_s"], artifacts or None, item["title"]]


def _json_of(name: str, given: str) -> Any:
    """What stands in an option, a file (``@FILE``) or the standard input (``-``), as JSON."""
    from app.web.decoding import decode

    if given == "-":
        return decode(sys.stdin.buffer.read(), (name,))
    return decode(Path(given[1:]).read_bytes() if given.startswith("@") else given.encode(), (name,))
