"""The command line. Short commands open the database beside a running server, on SQLite too.

A module of commands imports what a command runs when that is called: to show help, complete a word or list clients
takes a fraction of what it takes to load all that the gateway is made of.
"""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from app.cli import archive, callbacks, clients, listen, notifications, operations, processes, submissions, tasks
from app.cli.output import fail
from app.errors import BadSettings, GatewayError, InvalidRequest
from app.runtime.normalize_text import trimmed

# In the order in which the help shows them.
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.command()(processes.serve)
app.command()(processes.worker)
app.command()(processes.migrate)
app.command()(processes.sandbox)
app.command()(processes.demo)
app.command()(listen.listen)
app.command()(callbacks.callback_url)
app.command("recover")(submissions.recover_tasks)
app.command("console-link")(operations.console_link)
app.command("account")(operations.show_account)
app.command("audit")(operations.list_acts)
app.command("drift")(operations.list_drift)
app.command()(operations.purge)
app.add_typer(tasks.app, name="tasks")
app.add_typer(clients.app, name="clients")
app.add_typer(submissions.app, name="submissions")
app.add_typer(notifications.app, name="notifications")
app.add_typer(callbacks.app, name="callbacks")
app.add_typer(archive.app, name="archive")


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("tempolor-gateway"))
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """The server between internal services and TemPolor's asynchronous music API."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, by default that of the process. Every expected error is one message and exit code 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        # An argument that was pasted may have white space around it, as a setting may.
        app(args=[trimmed(argument) for argument in arguments])
    except BadSettings as error:
        fail("The settings are not usable:\n  " + "\n  ".join(error.faults))
    except InvalidRequest as error:
        fail("\n  ".join([str(error), *(f"{path}: {message}" for path, message in error.faults)]))
    except GatewayError as error:
        fail(str(error))
    except OSError as error:
        fail(": ".join(str(part) for part in (error.filename, error.strerror or error) if part is not None))
