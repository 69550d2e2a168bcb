"""Commands that run until they are stopped, and ``migrate``.

Each imports what it runs when it is called: the web framework takes as long to load as all that a short command does.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from app.cli.output import fail
from app.cli.run_on_database import print_database, require_database

if TYPE_CHECKING:
    from app.settings import Settings

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")]


def serve(
    host: Host = "0.0.0.0",
    port: Port = 8000,
    workers_off: Annotated[bool, typer.Option("--workers-off", help="No background loops in this process.")] = False,
) -> None:
    """Serve HTTP, and run the background loops unless they are off."""
    import uvloop

    from app.main import serve as serve_process

    settings = _start()
    uvloop.run(serve_process(settings, host, port, workers=not workers_off))


def worker(
    metrics_host: Annotated[str, typer.Option(help="Address for health and metrics.")] = "0.0.0.0",
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve health and metrics on this port; none if not given.")
    ] = None,
) -> None:
    """Run the background loops alone."""
    import uvloop

    from app.main import work as work_process

    settings = _start()
    require_database(settings.database_url.get_secret_value())
    uvloop.run(work_process(settings, metrics_host, metrics_port))


def migrate(
    to: Annotated[str, typer.Option(help="A revision, to take a release back before the next one is begun.")] = "head",
) -> None:
    """Bring the schema to head. Safe when several do it at once."""
    from app.database.migrate import migrate as migrate_schema
    from app.settings import database_settings, load_settings

    settings = database_settings()
    # A .env file that is not filled in names no database: the default one would be created, and never used.
    if "database_url" not in settings.model_fields_set and Path(".env").exists():
        load_settings()
    url = settings.database_url.get_secret_value()
    print_database(url)
    migrate_schema(url, to)
    typer.echo(f"The schema is at {to}.")


def sandbox(
    host: Host = "127.0.0.1",
    port: Port = 9000,
    scale: Annotated[float | None, typer.Option(help="Vendor seconds per real second; 1 if not given.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed and order of submissions: same decisions.")] = None,
    key: Annotated[str | None, typer.Option(help="The API key that it accepts; printed if not given.")] = None,
    faults: Annotated[str | None, typer.Option(help="'all', a JSON object, or a file with one.")] = None,
) -> None:
    """Run a local stand-in for TemPolor, with faults on demand."""
    from pydantic import ValidationError

    from app.sandbox import run as sandbox_process
    from app.sandbox.config import load_config

    try:
        config = load_config(faults, scale=scale, seed=seed, api_key=key)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        fail("The sandbox cannot be configured like this:\n  " + "\n  ".join(lines))
    except ValueError as error:
        fail(str(error))
    sandbox_process.main(host, port, config)


def demo(
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"] | None,
        typer.Option(help="Show the log of the gateway from this level on, on standard error."),
    ] = None,
) -> None:
    """Run a sandbox and a gateway, and watch one task of every kind to its end. Exit code 0 if all went well."""
    from app.demo.demo import main

    raise SystemExit(main(log_level))


def _start() -> "Settings":
    import structlog

    from app.runtime.logging import set_up
    from app.settings import load_settings, unknown_names

    settings = load_settings()
    set_up(settings.log_format, settings.log_level)
    unknown = unknown_names()
    if unknown:
        structlog.get_logger(__name__).warning("settings.unknown", names=unknown)
    return settings
