"""The commands. Short ones open the database beside a running server, on SQLite too."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Annotated, NoReturn, TypeVar

import structlog
import typer
import uvloop
from pydantic import ValidationError

from app import settings as settings_module
from app.demo import play
from app.errors import GatewayError
from app.flows import audit as audit_flows
from app.flows import clients as client_flows
from app.flows.clock import Clock
from app.flows.present import rfc3339
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
def worker() -> None:
    """Run the background loops alone."""
    uvloop.run(work_process(_start()))


@app.command()
def migrate() -> None:
    """Bring the schema to head. Safe when several do it at once."""
    migrate_schema(settings_module.database_url())
    typer.echo("The schema is at head.")


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
    """List clients, one a line: name, admin or client, when made, when revoked."""
    for one in _with_database(client_flows.list_all):
        role = "admin" if one.is_admin else "client"
        revoked = f"revoked {rfc3339(one.revoked_at)}" if one.revoked_at else "active"
        typer.echo(f"{one.name}\t{role}\t{rfc3339(one.created_at)}\t{revoked}")


@clients_app.command("revoke")
def revoke_client(name: str) -> None:
    """End a client's key at once; its tasks run to their end."""
    _with_database(lambda db: client_flows.revoke(db, Clock(), audit_flows.command_line(), name))
    typer.echo(f"The key of {name!r} is revoked.")


@app.command()
def audit(limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the newest first.")] = 50) -> None:
    """List what admins did, one act a line: when, who, what, to what, and the rest as JSON."""
    for one in _with_database(lambda db: audit_flows.page(db, None, limit)):
        detail = json.dumps(one["detail"])
        typer.echo(f"{rfc3339(one['at'])}\t{one['actor']}\t{one['action']}\t{one['target'] or '-'}\t{detail}")


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


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise SystemExit(1)
