"""The commands of the archive: how it is, whether it holds what it should, another try for what was given up, and
moving it to another store."""

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from app.cli.output import fail, print_json
from app.cli.shared_options import AlwaysJson

if TYPE_CHECKING:
    from app.app_context import Context
    from app.archive.file_store import FileStore

app = typer.Typer(no_args_is_help=True, help="Kept copies of result files, and uploads.")


@app.command("status")
def show_status(_as_json: AlwaysJson = True) -> None:
    """Show how many files are kept, their bytes, and how many wait to be copied since when."""
    from app.archive import rows
    from app.cli.run_on_database import with_context

    async def look(context: "Context") -> dict[str, Any]:
        kept, size = await context.db.read(rows.totals)
        pending, oldest_at = await context.db.read(rows.backlog)
        return {"kept": kept, "bytes": size, "pending": pending, "oldest_pending_since": oldest_at}

    print_json(with_context(look))


@app.command("verify")
def verify_files(
    deep: Annotated[bool, typer.Option("--deep", help="Read each file, and compare its SHA-256.")] = False,
    show_unlisted: Annotated[
        bool, typer.Option("--unlisted", help="Print the files in the store that the gateway does not know, too.")
    ] = False,
) -> None:
    """Check that each file that is kept lies in the store with its size. Exit code 1 if one does not."""
    from app.archive import rows
    from app.archive.move_store import unlisted
    from app.archive.verify_and_retry import fault_of
    from app.cli.run_on_database import with_context

    store = _store()

    async def check(context: "Context") -> tuple[int, list[str]]:
        checked, wrong, after = 0, list[str](), ""
        while page := await context.db.read(rows.list_files, after, 500):
            for row in page:
                checked += 1
                if (fault := await fault_of(store, row, deep=deep)) is not None:
                    wrong.append(f"{row.path}: {fault}")
            after = page[-1].path
        if show_unlisted:
            async for path in unlisted(context.db, store):
                typer.echo(f"{path}: unlisted")
        return checked, wrong

    checked, wrong = with_context(check)
    for line in wrong:
        typer.echo(line)
    typer.echo(f"{checked} files checked, {len(wrong)} wrong")
    if wrong:
        raise SystemExit(1)


@app.command("retry")
def retry_copies(
    task_id: Annotated[UUID | None, typer.Argument(metavar="ID", help="Of this task; else of all.")] = None,
) -> None:
    """Have the copies tried again that were given up, as far as the gateway has a link."""
    from app.archive.verify_and_retry import retry_failed
    from app.audit.audit import command_line
    from app.cli.run_on_database import with_context

    count = with_context(lambda context: retry_failed(context, command_line(), task_id))
    typer.echo(f"{count} copies are tried again.")


@app.command("move")
def move_files(
    target: Annotated[str, typer.Argument(metavar="URL", help="The new store, as GATEWAY_ARCHIVE_URL will have it.")],
    source: Annotated[
        str | None, typer.Option("--from", metavar="URL", help="The old store, if not GATEWAY_ARCHIVE_URL.")
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read what is at the new place already, and compare its SHA-256.")
    ] = False,
) -> None:
    """Copy every kept file to another store, checking its SHA-256 on the way; what is there already is passed over.
    Nothing is deleted, and the gateway may go on meanwhile. Exit code 1 if a file could not be copied."""
    from app.archive.move_store import Moved, move
    from app.cli.run_on_database import with_context

    old = _store_at(source, "--from") if source is not None else _store()
    new = _store_at(target, "the URL")

    def tell(moved: "Moved") -> None:
        typer.echo(f"{moved.copied + moved.there} files are there, {moved.bytes} bytes were copied", err=True)

    async def run(context: "Context") -> "Moved":
        return await move(context.db, old, new, deep=deep, tell=tell)

    moved = with_context(run)
    for path, fault in sorted(moved.wrong.items()):
        typer.echo(f"{path}: {fault}")
    typer.echo(f"{moved.copied} files copied, {moved.there} were there already, {len(moved.wrong)} wrong")
    if moved.wrong:
        raise SystemExit(1)


def _store() -> "FileStore":
    from app.archive.file_store import FileStore
    from app.settings import load_settings

    url = load_settings().archive_url
    if url is None:
        fail("There is no archive: set GATEWAY_ARCHIVE_URL.")
    return FileStore(url)


def _store_at(url: str, named: str) -> "FileStore":
    """Open a store whose URL could be that of the setting: the library knows others, which keep nothing."""
    from app.archive.file_store import FileStore
    from app.settings.urls import store_url

    try:
        return FileStore(store_url(url), named)
    except ValueError as error:
        fail(f"{named}: {error}.")
