"""The commands. Short ones open the database beside a running server, on SQLite too."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn, TypeVar
from uuid import UUID

import structlog
import typer
import uvloop
from pydantic import ValidationError

from app import settings as settings_module
from app.demo import play
from app.domain.observation import Disposition
from app.errors import GatewayError
from app.flows import audit as audit_flows
from app.flows import client_keys as client_key_flows
from app.flows import clients as client_flows
from app.flows import replay as replay_flow
from app.flows import retain, submissions
from app.flows import verify as verify_flow
from app.flows.clock import Clock
from app.flows.context import Context
from app.flows.erase import erase as erase_client
from app.flows.present import rfc3339
from app.flows.recover import recover
from app.flows.resolve import resolve_not_sent, resolve_sent
from app.main import context_of
from app.main import serve as serve_process
from app.main import work as work_process
from app.sandbox import run as sandbox_process
from app.sandbox.config import load_config
from app.settings import BadSettings, Settings, load_settings
from app.storage.connect import is_sqlite, open_database, parse_url
from app.storage.database import Database
from app.storage.migrate import check_at_head
from app.storage.migrate import migrate as migrate_schema
from app.telemetry.logs import set_up
from app.vendor.kinds import FAMILIES
from app.vendor.tokens import Tokens
from app.vendor.tokens import callback_url as make_callback_url

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
clients_app = typer.Typer(no_args_is_help=True, help="API keys of internal callers.")
app.add_typer(clients_app, name="clients")
submissions_app = typer.Typer(no_args_is_help=True, help="Stop and start sending by hand.")
app.add_typer(submissions_app, name="submissions")
callbacks_app = typer.Typer(no_args_is_help=True, help="The inbound log.")
app.add_typer(callbacks_app, name="callbacks")
tasks_app = typer.Typer(no_args_is_help=True, help="Tasks, by hand.")
app.add_typer(tasks_app, name="tasks")

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")]


def main() -> None:
    """Run the command line. Every expected fault is one clear message and exit code 1."""
    try:
        app()
    except BadSettings as error:
        _fail("The settings are not usable:\n  " + "\n  ".join(error.faults))
    except GatewayError as error:
        _fail(error.detail)
    except OSError as error:
        _fail(f"{error.strerror or error}")


@app.command()
def serve(
    host: Host = "0.0.0.0",
    port: Port = 8000,
    workers_off: Annotated[bool, typer.Option("--workers-off", help="No background loops in this process.")] = False,
) -> None:
    """Serve HTTP, and run the background loops unless they are off."""
    settings = _start()
    uvloop.run(serve_process(settings, host, port, workers=not workers_off))


@app.command()
def worker(
    metrics_host: Annotated[str, typer.Option(help="Address for health and metrics.")] = "0.0.0.0",
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve health and metrics on this port; none if not given.")
    ] = None,
) -> None:
    """Run the background loops alone."""
    uvloop.run(work_process(_start(), metrics_host, metrics_port))


@app.command()
def migrate(
    to: Annotated[str, typer.Option(help="A revision, to take a release back before the next one is begun.")] = "head",
) -> None:
    """Bring the schema to head. Safe when several do it at once."""
    migrate_schema(settings_module.database_url(), to)
    typer.echo(f"The schema is at {to}.")


@app.command()
def sandbox(
    host: Host = "127.0.0.1",
    port: Port = 9000,
    scale: Annotated[float | None, typer.Option(help="Vendor seconds per real second; 1 if not given.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed and order of submissions: same decisions.")] = None,
    key: Annotated[str | None, typer.Option(help="The API key that it accepts; printed if not given.")] = None,
    faults: Annotated[str | None, typer.Option(help="'all', a JSON object, or a file with one.")] = None,
) -> None:
    """Run a local stand-in for TemPolor, with faults on demand."""
    try:
        config = load_config(faults, scale=scale, seed=seed, api_key=key)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        _fail("The sandbox cannot be configured so:\n  " + "\n  ".join(lines))
    except ValueError as error:
        _fail(str(error))
    sandbox_process.main(host, port, config)


@app.command()
def demo() -> None:
    """Run a sandbox and a gateway, and watch one task of every kind to its end. Exit code 0 if all went well."""
    raise SystemExit(play.main())


@app.command("callback-url")
def callback_url(family: Annotated[str, typer.Argument(help=", ".join(FAMILIES))]) -> None:
    """Print a callback URL for tasks that another system submits to the vendor."""
    if family not in FAMILIES:
        _fail(f"There is no family {family!r}; there are {', '.join(FAMILIES)}.")
    settings = load_settings()
    tokens = Tokens([secret.get_secret_value() for secret in settings.callback_secrets])
    typer.echo(make_callback_url(settings.public_url, family, tokens.sign(family, None)))


@clients_app.command("create")
def create_client(
    name: str, admin: Annotated[bool, typer.Option("--admin", help="May see and do everything.")] = False
) -> None:
    """Make a client, and print its API key and webhook secret this once."""
    by = audit_flows.command_line()
    made = _with_database(lambda db: client_flows.create(db, Clock(), by, name, is_admin=admin))
    shown = {"name": name, "admin": admin, "api_key": made.api_key, "webhook_secret": made.webhook_secret}
    typer.echo(json.dumps(shown, indent=2))


@clients_app.command("list")
def list_clients() -> None:
    """List clients, one a line: name, admin or client, when made, when revoked, when the key was used last, and, of
    one whose old key goes on, until when and when that was used last."""
    for one in _with_database(client_flows.list_all):
        role = "admin" if one.is_admin else "client"
        revoked = f"revoked {rfc3339(one.revoked_at)}" if one.revoked_at else "active"
        columns = [one.name, role, _when(one.created_at), revoked, f"used {_when(one.key_used_at)}"]
        if one.previous_key_until is not None:
            columns.append(f"old key until {rfc3339(one.previous_key_until)}, used {_when(one.previous_key_used_at)}")
        typer.echo("\t".join(columns))


@clients_app.command("rotate")
def rotate_key(
    name: str,
    overlap_hours: Annotated[float, typer.Option(min=0, help="How long the old key goes on; 0 ends it.")] = 24,
) -> None:
    """Make a new API key, and print it this once; the old one goes on beside it for a while."""
    by = audit_flows.command_line()
    made = _with_database(lambda db: client_key_flows.rotate(db, Clock(), by, name, overlap_hours * 3600))
    until = made.previous_key_until
    shown = {"name": name, "api_key": made.api_key, "previous_key_until": rfc3339(until) if until else None}
    typer.echo(json.dumps(shown, indent=2))


@clients_app.command("drop-old-key")
def drop_old_key(name: str) -> None:
    """End the key before the present one at once."""
    by = audit_flows.command_line()
    _with_database(lambda db: client_key_flows.drop_previous(db, Clock(), by, name))
    typer.echo(f"The old key of {name!r} has ended.")


@clients_app.command("revoke")
def revoke_client(name: str) -> None:
    """End a client's key at once; its tasks run to their end."""
    _with_database(lambda db: client_flows.revoke(db, Clock(), audit_flows.command_line(), name))
    typer.echo(f"The key of {name!r} is revoked.")


@submissions_app.command("hold")
def hold_submissions(
    reason: Annotated[str, typer.Option(help="Why, for whoever looks at 'submissions show'.")] = "",
) -> None:
    """Send nothing more, no probe either, until it is released. Holds for all processes and over restarts."""
    _with_context(lambda context: submissions.hold(context, audit_flows.command_line(), reason))
    typer.echo("Submissions are held. What is being sent now is still sent; 'submissions show' tells when it is not.")


@submissions_app.command("release")
def release_submissions() -> None:
    """End the hold by hand. Where there is none, the next probe of what stands still is due now."""
    found = _with_context(lambda context: submissions.release(context, audit_flows.command_line()))
    still = {what: why["reason"] for what, why in found["standing_still"].items() if why is not None}
    held = ", ".join(f"{what} ({reason})" for what, reason in still.items())
    typer.echo(f"Released. Still held: {held}; a probe decides." if held else "Released: submissions go on.")


@submissions_app.command("show")
def show_submissions() -> None:
    """Show as JSON who holds each slot and since when, who waits, and why things stand still."""
    _print(_with_context(submissions.show))


@tasks_app.command("resolve")
def resolve_task(
    task_id: Annotated[UUID, typer.Argument(metavar="ID", help="An unconfirmed task.")],
    item: Annotated[str | None, typer.Option(help="The vendor has it: the id of its item.")] = None,
    not_sent: Annotated[bool, typer.Option("--not-sent", help="The vendor does not have it: send it again.")] = False,
) -> None:
    """Settle a task whose submission's answer was lost, once you have looked at the vendor what became of it."""
    if (item is not None) == not_sent:
        _fail("Give either --item ITEM_ID or --not-sent.")
    by = audit_flows.command_line()
    if item is not None:
        _with_context(lambda context: resolve_sent(context, by, task_id, item))
        typer.echo("Accepted: the item is the task's, and is asked about.")
    else:
        _with_context(lambda context: resolve_not_sent(context, by, task_id))
        typer.echo("Queued: the task is sent again.")


@app.command("recover")
def recover_tasks(
    sent_since: Annotated[str, typer.Option(metavar="TIME", help="The database is complete up to here (RFC 3339).")],
    accepted_before: Annotated[
        str | None, typer.Option(metavar="TIME", help="The moment of the recovery; now, if not given.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
) -> None:
    """After a restore or failover: tasks that may have been sent already become unconfirmed, and are not sent again.

    All that are queued or being sent, as this database has it, and were accepted before the recovery. Hold first.
    """
    since, before = _time(sent_since), _time(accepted_before) if accepted_before is not None else None
    by = audit_flows.command_line()
    _print(_with_context(lambda context: recover(context, by, since, before, dry_run=dry_run)))


@app.command()
def audit(limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the newest first.")] = 50) -> None:
    """List what admins did, one act a line: when, who, what, to what, and the rest as JSON."""
    for one in _with_database(lambda db: audit_flows.page(db, None, limit)):
        detail = json.dumps(one["detail"])
        typer.echo(f"{rfc3339(one['at'])}\t{one['actor']}\t{one['action']}\t{one['target'] or '-'}\t{detail}")


@clients_app.command("erase")
def erase_client_data(name: str) -> None:
    """Delete what is kept of a revoked client, whose tasks have all ended. Interrupted, it goes on when run again."""
    by = audit_flows.command_line()
    erased = _with_database(lambda db: erase_client(db, Clock(), by, name))
    _print_counts(erased.deleted)


@app.command()
def purge(
    older_than: Annotated[float, typer.Option(min=0, help="Days since it ended. Idempotency keys stay a day.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and delete nothing.")] = False,
) -> None:
    """Delete what ended long ago, as the background loop does by itself. Prints rows by table."""
    by = audit_flows.command_line()
    _print_counts(_with_database(lambda db: retain.purge(db, Clock(), by, older_than, dry_run=dry_run)))


@callbacks_app.command("list")
def list_callbacks(
    disposition: Annotated[Disposition | None, typer.Option(help="What became of it.")] = None,
    family: Annotated[str | None, typer.Option(help=", ".join(FAMILIES))] = None,
    task: Annotated[UUID | None, typer.Option(help="Of this task's token.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """List received callbacks, newest first, one a line: id, time, family, disposition, count, task, detail."""
    found = _with_database(
        lambda db: replay_flow.listed(
            db, task_id=task, disposition=disposition.value if disposition else None, family=family, limit=limit
        )
    )
    for one in found:
        shown = ("id", "received_at", "family", "disposition", "count", "task_id", "detail")
        typer.echo("\t".join("-" if one[name] is None else str(one[name]) for name in shown))


@callbacks_app.command("replay")
def replay_callback(
    callback_id: UUID, notify: Annotated[bool, typer.Option("--notify", help="Tell the client what changes.")] = False
) -> None:
    """Read a stored callback anew and apply it, as of the time when it was first received."""
    by = audit_flows.command_line()
    done = _with_context(lambda context: replay_flow.replay(context, by, callback_id, notify=notify))
    typer.echo(json.dumps(done, indent=2, ensure_ascii=False))


@tasks_app.command("verify")
def verify_tasks(
    task_ids: Annotated[list[UUID] | None, typer.Argument(metavar="[ID]...")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every task there is.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Join in what is missing; nothing is erased.")] = False,
    notify: Annotated[bool, typer.Option("--notify", help="Tell the clients what changes.")] = False,
) -> None:
    """Make tasks' items anew from their records, and compare. Exit code 1 if a difference is left."""
    if bool(task_ids) == every:
        _fail("Name the tasks, or say --all.")

    async def story(context: Context) -> bool:
        seen = faults = 0
        by, chosen = audit_flows.command_line(), None if every else task_ids
        async for found in verify_flow.verify_some(context, by, chosen, repair=repair, notify=notify):
            seen += 1
            faults += found.fault
            for line in verify_flow.lines(found):
                typer.echo(line)
        typer.echo(f"{seen} verified, {faults} with differences")
        return faults > 0

    if _with_context(story):
        raise SystemExit(1)


def _print_counts(counts: dict[str, int]) -> None:
    for table, rows in counts.items():
        typer.echo(f"{table}\t{rows}")


def _start() -> Settings:
    settings = load_settings()
    set_up(settings.log_format, settings.log_level)
    unknown = settings_module.unknown_names()
    if unknown:
        structlog.get_logger(__name__).warning("settings.unknown", names=unknown)
    return settings


def _with_database(story: Callable[[Database], Awaitable[T]]) -> T:
    """Run one story on the configured database, beside whatever else uses it."""
    url = settings_module.database_url()
    if is_sqlite(parse_url(url)):
        migrate_schema(url)

    async def run() -> T:
        db = open_database(url)
        try:
            await db.read(check_at_head)
            return await story(db)
        finally:
            await db.close()

    return asyncio.run(run())


def _with_context(story: Callable[[Context], Awaitable[T]]) -> T:
    """Run one story with all that flows work with, beside whatever else uses the database. Other processes find
    what it changed at the next turn of their loops."""
    settings = load_settings()
    set_up(settings.log_format, settings.log_level)

    async def run(db: Database) -> T:
        context = context_of(settings, db)
        try:
            return await story(context)
        finally:
            await context.vendor.close()

    return _with_database(run)


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            raise ValueError
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        _fail(f"{text!r} is no time with its offset, such as 2026-01-31T13:30:00Z.")


def _print(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, indent=2, default=rfc3339))


def _when(at: datetime | None) -> str:
    return rfc3339(at) or "never"


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise SystemExit(1)
