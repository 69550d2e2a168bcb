"""Commands of the inbound log of callbacks, and of callback URLs."""

import json
from typing import Annotated
from uuid import UUID

import typer

from app.audit import audit
from app.callbacks import log, replay
from app.cli.connect import fail, with_context, with_database
from app.rules.observation import Disposition
from app.settings import load_settings
from app.tempolor import tokens
from app.tempolor.kinds import FAMILIES

app = typer.Typer(no_args_is_help=True, help="The inbound log.")


def callback_url(family: Annotated[str, typer.Argument(help=", ".join(FAMILIES))]) -> None:
    """Print a callback URL for tasks that another system submits to the vendor."""
    if family not in FAMILIES:
        fail(f"There is no family {family!r}; there are {', '.join(FAMILIES)}.")
    settings = load_settings()
    signer = tokens.Tokens([secret.get_secret_value() for secret in settings.callback_secrets])
    typer.echo(tokens.callback_url(settings.public_url, family, signer.sign(family, None)))


@app.command("list")
def list_callbacks(
    disposition: Annotated[Disposition | None, typer.Option(help="What became of it.")] = None,
    family: Annotated[str | None, typer.Option(help=", ".join(FAMILIES))] = None,
    task: Annotated[UUID | None, typer.Option(help="Of this task's token.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """List received callbacks, newest first, one a line: id, time, family, disposition, count, task, detail."""
    callbacks = with_database(
        lambda db: log.page(
            db, task_id=task, disposition=disposition.value if disposition else None, family=family, limit=limit
        )
    )
    columns = ("id", "received_at", "family", "disposition", "count", "task_id", "detail")
    for callback in callbacks:
        typer.echo("\t".join("-" if callback[name] is None else str(callback[name]) for name in columns))


@app.command("replay")
def replay_callback(
    callback_id: UUID, notify: Annotated[bool, typer.Option("--notify", help="Tell the client what changes.")] = False
) -> None:
    """Read a stored callback anew and apply it, as of the time when it was first received."""
    by = audit.command_line()
    result = with_context(lambda context: replay.replay(context, by, callback_id, notify=notify))
    typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
