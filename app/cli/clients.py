"""Commands of clients and their API keys."""

import json
from typing import Annotated

import typer

from app.audit import audit
from app.cli.connect import print_counts, when, with_database
from app.clients import clients, keys
from app.operations.erase import erase
from app.rules.timing import rfc3339
from app.runtime.clock import Clock

app = typer.Typer(no_args_is_help=True, help="API keys of internal callers.")


@app.command("create")
def create_client(
    name: str, admin: Annotated[bool, typer.Option("--admin", help="May see and do everything.")] = False
) -> None:
    """Make a client, and print its API key and webhook secret this once."""
    by = audit.command_line()
    new = with_database(lambda db: clients.create(db, Clock(), by, name, is_admin=admin))
    document = {"name": name, "admin": admin, "api_key": new.api_key, "webhook_secret": new.webhook_secret}
    typer.echo(json.dumps(document, indent=2))


@app.command("list")
def list_clients() -> None:
    """List clients, one a line: name, admin or client, when made, when revoked, when the key was used last, and, of
    one whose old key goes on, until when and when that was used last."""
    for client in with_database(clients.list_all):
        role = "admin" if client.is_admin else "client"
        revoked = f"revoked {rfc3339(client.revoked_at)}" if client.revoked_at else "active"
        columns = [client.name, role, when(client.created_at), revoked, f"used {when(client.key_used_at)}"]
        if client.previous_key_until is not None:
            until, used_at = rfc3339(client.previous_key_until), when(client.previous_key_used_at)
            columns.append(f"old key until {until}, used {used_at}")
        typer.echo("\t".join(columns))


@app.command("rotate")
def rotate_key(
    name: str,
    overlap_hours: Annotated[float, typer.Option(min=0, help="How long the old key goes on; 0 ends it.")] = 24,
) -> None:
    """Make a new API key, and print it this once; the old one goes on beside it for a while."""
    by = audit.command_line()
    new = with_database(lambda db: keys.rotate(db, Clock(), by, name, overlap_hours * 3600))
    until = new.previous_key_until
    document = {"name": name, "api_key": new.api_key, "previous_key_until": rfc3339(until) if until else None}
    typer.echo(json.dumps(document, indent=2))


@app.command("drop-old-key")
def drop_old_key(name: str) -> None:
    """End the key before the present one at once."""
    by = audit.command_line()
    with_database(lambda db: keys.drop_previous(db, Clock(), by, name))
    typer.echo(f"The old key of {name!r} has ended.")


@app.command("revoke")
def revoke_client(name: str) -> None:
    """End a client's key at once; its tasks run to their end."""
    with_database(lambda db: clients.revoke(db, Clock(), audit.command_line(), name))
    typer.echo(f"The key of {name!r} is revoked.")


@app.command("erase")
def erase_client_data(name: str) -> None:
    """Delete what is kept of a revoked client, whose tasks have all ended. Interrupted, it goes on when run again."""
    by = audit.command_line()
    erased = with_database(lambda db: erase(db, Clock(), by, name))
    print_counts(erased.deleted)
