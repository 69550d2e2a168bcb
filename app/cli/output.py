"""How commands print: a table on a terminal, a line of tab-separated fields for each row to anything else, and JSON
where it is asked for.

A program that reads lines is not to be surprised by headers or by the width of a terminal; a person is not to count
tabs. Ids and times are whole in both.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NoReturn

import typer

from app.rules.times import rfc3339

NARROWEST: Final = 24
"""Of the last column of a table, which alone is wrapped, however narrow the terminal is."""
_BETWEEN: Final = 2


def fail(message: str) -> NoReturn:
    """End the command with exit code 1."""
    typer.echo(message, err=True)
    raise SystemExit(1)


def print_json(document: Any) -> None:
    """A document, times as everywhere."""
    typer.echo(json.dumps(document, indent=2, default=rfc3339))


def print_page(page: Mapping[str, Any], columns: Mapping[str, str], *, as_json: bool) -> None:
    """A page of a list, as the API has it (``data``, ``next_cursor``). ``columns``: from a header to the field that is
    shown under it, the id first."""
    if as_json:
        print_json(page)
        return
    print_table(list(columns), [[one[name] for name in columns.values()] for one in page["data"]])
    if page["next_cursor"] is not None:
        typer.echo(f"There are more: --cursor {page['next_cursor']}", err=True)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Rows under their headers; to a program the rows alone."""
    texts = [[text_of(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        _print_aligned(headers, texts)
        return
    for row in texts:
        typer.echo("\t".join(row))


def print_record(record: Mapping[str, Any]) -> None:
    """One thing, a field a line with its name before it."""
    texts = [[name, text_of(value)] for name, value in record.items()]
    if sys.stdout.isatty():
        _print_aligned((), texts)
        return
    for row in texts:
        typer.echo("\t".join(row))


def text_of(value: Any) -> str:
    """A value on one line, without what a terminal would act upon: much of it comes from clients and the vendor."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return rfc3339(value)
        case dict() | list():
            return json.dumps(value, default=rfc3339)
        case _:
            return "".join(letter if letter.isprintable() else " " for letter in str(value))


def _print_aligned(headers: Sequence[str], texts: Sequence[Sequence[str]]) -> None:
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    lines = [headers, *texts] if headers else texts
    if not lines:
        return
    widths = [max(cell_len(text) for text in column) for column in zip(*lines, strict=True)]
    before = sum(width + _BETWEEN for width in widths[:-1])
    last = min(widths[-1], max(NARROWEST, Console().width - before))
    table = Table(box=None, show_header=bool(headers), header_style="bold", padding=(0, _BETWEEN, 0, 0), pad_edge=False)
    for index, width in enumerate([*widths[:-1], last]):
        table.add_column(headers[index] if headers else "", width=width, overflow="fold")
    for row in texts:
        table.add_row(*(Text(text) for text in row))
    # Wider than a narrow terminal, which then breaks the line itself: better than half an id.
    Console(width=before + last).print(table)
