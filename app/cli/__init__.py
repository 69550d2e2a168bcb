"""The command line. Short commands open the database beside a running server, on SQLite too."""

import sys
from collections.abc import Sequence

import typer

from app.cli import admin, callbacks, clients, processes, submissions, tasks
from app.cli.connect import fail
from app.errors import GatewayError
from app.settings import BadSettings
from app.settings.sources import trimmed

# In the order in which the help shows them.
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command()(processes.serve)
app.command()(processes.worker)
app.command()(processes.migrate)
app.command()(processes.sandbox)
app.command()(processes.demo)
app.command()(callbacks.callback_url)
app.command("recover")(submissions.recover_tasks)
app.command("audit")(admin.list_acts)
app.command("drift")(admin.list_drift)
app.command()(admin.purge)
app.add_typer(clients.app, name="clients")
app.add_typer(submissions.app, name="submissions")
app.add_typer(callbacks.app, name="callbacks")
app.add_typer(tasks.app, name="tasks")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, by default that of the process. Every expected error is one message and exit code 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        # An argument that was pasted may have white space around it, as a setting may.
        app(args=[trimmed(argument) for argument in arguments])
    except BadSettings as error:
        fail("The settings are not usable:\n  " + "\n  ".join(error.faults))
    except GatewayError as error:
        fail(str(error))
    except OSError as error:
        fail(": ".join(str(part) for part in (error.filename, error.strerror or error) if part is not None))
