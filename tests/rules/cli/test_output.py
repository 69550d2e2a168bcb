"""What commands print: a table to a terminal, plain lines to anything else."""

import io
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import UTC, datetime
from typing import Any

import pytest

from app.cli.output import print_page, print_record, print_table

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
ID = "0192aaaa-0000-7000-8000-000000000000"
HEADERS = ("ID", "AT", "DETAIL")
ROWS: list[list[Any]] = [[ID, START, "a word and another " * 5], ["short", None, {"was": ["no_points"]}]]
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(to: io.StringIO, write: Callable[[], None]) -> list[str]:
    with redirect_stdout(to):
        write()
    return [line.rstrip() for line in ESCAPES.sub("", to.getvalue()).splitlines()]


def test_a_program_gets_one_line_a_row_and_no_header() -> None:
    lines = printed(io.StringIO(), lambda: print_table(HEADERS, ROWS))
    assert [line.split("\t") for line in lines] == [
        [ID, "2026-01-31T12:00:00.000000Z", ("a word and another " * 5).rstrip()],
        ["short", "-", '{"was": ["no_points"]}'],
    ]
    assert printed(io.StringIO(), lambda: print_table(HEADERS, [])) == []


@pytest.mark.parametrize("columns", [40, 100, 200])
def test_a_terminal_gets_headers_and_whole_ids_and_times_however_narrow_it_is(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    header, first, *more = printed(Terminal(), lambda: print_table(HEADERS, ROWS))
    assert header.split() == list(HEADERS)
    assert first.startswith(f"{ID}  2026-01-31T12:00:00.000000Z  a word")
    assert [header.index(name) for name in HEADERS] == [0, 38, 67]
    assert all(line[67:].strip() and len(line) <= max(columns, 67 + 24) for line in more)
    assert "\t" not in "".join([header, first, *more])


def test_nothing_that_comes_from_outside_moves_a_cursor_or_makes_a_line() -> None:
    rows = [["a\tb", "c\nd\x1b[2Je\x9bf", True]]
    [line] = printed(io.StringIO(), lambda: print_table(HEADERS, rows))
    assert line == "a b\tc d [2Je f\tyes"
    assert len(printed(Terminal(), lambda: print_table(HEADERS, rows))) == 2


def test_a_page_tells_how_to_go_on_beside_what_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    page = {"data": [{"id": ID, "at": START}], "next_cursor": "there"}
    print_page(page, {"ID": "id"}, as_json=False)
    assert capsys.readouterr() == (f"{ID}\n", "There are more: --cursor there\n")
    print_page(page, {"ID": "id"}, as_json=True)
    out, err = capsys.readouterr()
    assert '"at": "2026-01-31T12:00:00.000000Z"' in out
    assert not err


def test_a_record_is_a_field_a_line() -> None:
    record = {"id": ID, "warnings": ["late"]}
    assert printed(io.StringIO(), lambda: print_record(record)) == [f"id\t{ID}", 'warnings\t["late"]']
    assert printed(Terminal(), lambda: print_record(record)) == [f"id        {ID}", 'warnings  ["late"]']
