"""Commands of clients and their API keys."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.cli.output import print_json, print_table
from app.cli.run_on_database import with_database
from app.cli.shared_options import AlwaysJson, AsJson
from app.rules.times import rfc3339

if TYPE_CHECKING:
    from app.rules.client import Client

app = typer.Typer(no_args_is_help=True, help="API keys of internal callers.")

HEADERS: Final = ("NAME", "ROLE", "CREATED", "STATE", "KEY", "OLD KEY")


@app.command("create")
def create_client(
    name: str,
    admin: Annotated[bool, typer.Option("--admin", help="May see and do everything.")] = False,
    _as_json: AlwaysJson = True,
) -> None:
    """Make a client, and print its API key and webhook secret this once."""
    from app.audit import audit
    from app.clients import clients
    from app.runtime.clock import Clock

    actor = audit.command_line()
    new = with_database(lambda db: clients.create(db, Clock(), actor, name, is_admin=admin))
    print_json({"name": name, "admin": admin, "api_key": new.api_key, "webhook_secret": new.webhook_secret})


@app.command("list")
def list_clients(as_json: AsJson = False) -> None:
    """List clients: their role, when each was created and revoked, when its key was used last, and until when its old
    key is valid, if it has one."""
    from app.clients import clients

    all_clients = with_database(clients.list_all)
    if as_json:
        print_json({"data": [clients.client_document(client) for client in all_clients], "next_cursor": None})
    else:
        print_table(HEADERS, [_row(client) for client in all_clients])


@app.command("rotate")
def rotate_key(
    name: str,
    overlap_hours: Annotated[float, typer.Option(min=0, help="How long the old key goes on; 0 ends it.")] = 24,
    _as_json: AlwaysJson = True,
) -> None:
    """Make a new API key, and print it this once; the old one goes on beside it for a while."""
    from app.audit import audit
    from app.clients import keys
    from app.runtime.clock import Clock

    actor = audit.command_line()
    new = with_database(lambda db: keys.rotate(db, Clock(), actor, name, overlap_hours * 3600))
    print_json({"name": name, "api_key": new.api_key, "previous_key_until": new.previous_key_until})


@app.command("drop-old-key")
def drop_old_key(name: str) -> None:
    """End the key before the present one at once."""
    from app.audit import audit
    from app.clients import keys
    from app.runtime.clock import Clock

    actor = audit.command_line()
    with_database(lambda db: keys.drop_previous(db, Clock(), actor, name))
    typer.echo(f"The old key of {name!r} has ended.")


@app.command("rotate-webhook-secret")
def rotate_webhook_secret(name: str, _as_json: AlwaysJson = True) -> None:
    """Make a new webhook secret, and print it this once; the old one signs beside it for a day."""
    from app.audit import audit
    from app.clients import clients
    from app.runtime.clock import Clock

    actor = audit.command_line()
    secret = with_database(lambda db: clients.rotate_webhook_secret(db, Clock(), actor, name))
    print_json({"name": name, "webhook_secret": secret})


@app.command("revoke")
def revoke_client(name: str) -> None:
    """End a client's key at once; its tasks run to their end."""
    from app.audit import audit
    from app.clients import clients
    from app.runtime.clock import Clock

    with_database(lambda db: clients.revoke(db, Clock(), audit.command_line(), name))
    typer.echo(f"The key of {name!r} is revoked.")


@app.command("erase")
def erase_client_data(name: str, as_json: AsJson = False) -> None:
    """Delete what is kept of a revoked client, whose tasks have all ended. Interrupted, it goes on when run again."""
    from app.audit import audit
    from app.operations.erase import erase
    from app.runtime.clock import Clock

    actor = audit.command_line()
    erased = with_database(lambda db: erase(db, Clock(), actor, name))
    if as_json:
        print_json({"client": name, "deleted": erased.deleted, "done": erased.done})
    else:
        print_table(("TABLE", "ROWS"), erased.deleted.items())


def _row(client: "Client") -> list[Any]:
    until = client.previous_key_until
    return [
        client.name,
        "admin" if client.is_admin else "client",
        client.created_at,
        f"revoked {rfc3339(client.revoked_at)}" if client.revoked_at else "active",
        f"used {_when(client.key_used_at)}",
        f"old key until {rfc3339(until)}, used {_when(client.previous_key_used_at)}" if until else None,
    ]


def _when(at: datetime | None) -> str:
    return rfc3339(at) or "never"
