"""Commands of the inbound log of callbacks, and of callback URLs."""

from typing import Annotated, Final
from uuid import UUID

import typer

from app.cli.output import fail, print_json, print_page
from app.cli.run_on_database import with_context, with_database
from app.cli.shared_options import FAMILY_NAMES, AlwaysJson, AsJson, Cursor, Limit
from app.rules.observation import Disposition

app = typer.Typer(no_args_is_help=True, help="The inbound log.")

COLUMNS: Final = {
    "ID": "id",
    "RECEIVED": "received_at",
    "FAMILY": "family",
    "DISPOSITION": "disposition",
    "COUNT": "count",
    "TASK": "task_id",
    "DETAIL": "detail",
}


def callback_url(family: Annotated[str, typer.Argument(help=FAMILY_NAMES)], as_json: AsJson = False) -> None:
    """Print a callback URL for tasks that another system submits to the vendor."""
    from app.settings import load_settings
    from app.tempolor import callback_tokens

    _require_family(family)
    settings = load_settings()
    signer = callback_tokens.Tokens([secret.get_secret_value() for secret in settings.callback_secrets])
    url = callback_tokens.callback_url(settings.public_url, family, signer.sign(family, None))
    if as_json:
        print_json({"family": family, "url": url})
    else:
        typer.echo(url)


@app.command("list")
def list_callbacks(
    disposition: Annotated[Disposition | None, typer.Option(help="What became of it.")] = None,
    family: Annotated[str | None, typer.Option(help=FAMILY_NAMES)] = None,
    task: Annotated[UUID | None, typer.Option(help="Of this task's token.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List received callbacks, newest first."""
    from app.callbacks import inbound_log
    from app.web import cursors

    if family is not None:
        _require_family(family)
    bound_to = ("callbacks", disposition, family, task)
    filters = inbound_log.CallbackFilters(
        task_id=task,
        disposition=disposition.value if disposition else None,
        family=family,
        before_id=cursors.read(cursor, bound_to),
    )
    callbacks = with_database(lambda db: inbound_log.page(db, filters, limit + 1))
    print_page(cursors.page(callbacks, limit, bound_to), COLUMNS, as_json=as_json)


@app.command("replay")
def replay_callback(
    callback_id: UUID,
    notify: Annotated[bool, typer.Option("--notify", help="Tell the client what changes.")] = False,
    _as_json: AlwaysJson = True,
) -> None:
    """Read a stored callback anew and apply it, as of the time when it was first received."""
    from app.audit import audit
    from app.callbacks import replay

    actor = audit.command_line()
    print_json(with_context(lambda context: replay.replay(context, actor, callback_id, notify=notify)))


def _require_family(name: str) -> None:
    from app.tempolor.kinds import FAMILIES

    if name not in FAMILIES:
        fail(f"There is no family {name!r}; there are {', '.join(FAMILIES)}.")
