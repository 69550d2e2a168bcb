"""The table of mutations as it stands on a page, with what caught each."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from tests.mutants.mutation import Mutation
from tests.mutants.trial import Result

HEAD: Final = "| id | subject | breaks | before: caught by | after: caught by |\n| --- | --- | --- | --- | --- |\n"
_TABLE: Final = re.compile(r"^\| id \|.*\n(?:\|.*\n)*", re.MULTILINE)
_PARAMETERS: Final = re.compile(r"\[.*\]")


def written(page: Path, mutations: Sequence[Mutation], results: Iterable[Result]) -> None:
    """Bring the table of a page up to date: all mutations, the new results, and else what stood there. ``before`` is
    what caught a mutation before the tests were divided into tiers; nothing measures that anew."""
    text = page.read_text() if page.exists() else f"# Mutants\n\n{HEAD}"
    cells = {row[0].strip("| `"): row for row in (line.split(" | ") for line in _rows(text)) if len(row) == 5}
    found = {result.mutation.id: _cell(result) for result in results}
    lines = []
    for one in mutations:
        known = cells.get(one.id)
        before, after = (known[3], known[4].removesuffix(" |")) if known else ("", "")
        lines.append(f"| `{one.id}` | {one.subject} | {one.breaks} | {before} | {found.get(one.id, after)} |\n")
    page.write_text(_TABLE.sub(lambda _: HEAD + "".join(lines), text, count=1))


def _rows(text: str) -> list[str]:
    table = _TABLE.search(text)
    return table[0].splitlines()[2:] if table else []


def _cell(result: Result) -> str:
    if result.caught_by is None:
        return "**missed**"
    return f"`{_PARAMETERS.sub('', result.caught_by)}`" + (" (hangs)" if result.hung else "")
