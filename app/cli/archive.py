"""The commands of the archive: how it is, whether it holds what it should, and another try for what was given up."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.arguments import AlwaysJson
from app.cli.output import fail, print_json

if TYPE_CHECKING:
    from app.archive.store import FileStore
    from app.context import Context

app = typer.Typer(no_args_is_help=True, help="Kept copies of result files, and uploads.")


@app.command("status")
def show_status(as_json: AlwaysJson = False) -> None:
    """Show how many files are kept, their bytes, and how many wait to be copied since when."""
    from app.archive import rows
    from app.cli.connect import with_context

    async def look(context: "Context") -> dict[str, Any]:
        kept, size = await context.db.read(rows.totals)
        pending, oldest_at = await context.db.read(rows.backlog)
        return {"kept": kept, "bytes": size, "pending": pending, "oldest_pending_since": oldest_at}

    del as_json
    print_json(with_context(look))


@app.command("verify")
def verify_files(
    deep: Annotated[bool, typer.Option("--deep", help="Read each file, and compare its SHA-256.")] = False,
) -> None:
    """Check that each file that is kept lies in the store with its size. Exit code 1 if one does not."""
    from app.archive import rows
    from app.archive.by_hand import fault_of
    from app.cli.connect import with_context

    store = _store()

    async def check(context: "Context") -> tuple[int, list[str]]:
        checked, wrong, after = 0, list[str](), ""
        while page := await context.db.read(rows.list_files, after, 500):
            for row in page:
                checked += 1
                if (fault := await fault_of(store, row, deep=deep)) is not None:
                    wrong.append(f"{row.path}: {fault}")
            after = page[-1].path
        return checked, wrong

    checked, wrong = with_context(check)
    for line in wrong:
        typer.echo(line)
    typer.echo(f"{checked} files checked, {len(wrong)} wrong")
    if wrong:
        raise SystemExit(1)


@app.command("retry")
def retry_copies() -> None:
    """Have the copies tried again that were given up, as far as the gateway has a link."""
    from app.archive.by_hand import retry_failed
    from app.cli.connect import with_context

    typer.echo(f"{with_context(retry_failed)} copies are tried again.")


def _store() -> "FileStore":
    from app.archive.store import FileStore
    from app.settings import load_settings

    url = load_settings().archive_url
    if url is None:
        fail("There is no archive: set GATEWAY_ARCHIVE_URL.")
    return FileStore(url)
