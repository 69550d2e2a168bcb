"""Options that several commands have, and arguments that are read alike."""

from datetime import UTC, datetime
from typing import Annotated, Final, overload

import typer

from app.cli.output import fail

FAMILY_NAMES: Final = "song, instrumental, lyrics, stems, midi"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, as the API has it.")]
AlwaysJson = Annotated[bool, typer.Option("--json", help="Changes nothing: this command always prints JSON.")]
"""Taken and not read, so that a script may say ``--json`` to whatever prints a document."""
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many, the newest first.")]
Cursor = Annotated[str | None, typer.Option(help="Go on where the page before ended, by the cursor that it printed.")]


@overload
def time_of(text: str) -> datetime: ...
@overload
def time_of(text: str | None) -> datetime | None: ...
def time_of(text: str | None) -> datetime | None:
    """Read a time with its offset, in UTC; None where none is given. Ends the command for anything else."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            raise ValueError
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        fail(f"{text!r} is not a time with an offset, such as 2026-01-31T13:30:00Z.")


def complete_kind(begun: str) -> list[str]:
    """The kinds that begin so, for the shell."""
    from app.tempolor.kinds import KINDS

    return [name for name in KINDS if name.startswith(begun)]
