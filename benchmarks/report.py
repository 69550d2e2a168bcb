"""What is shown: tables on the terminal, and RESULTS.md, whose hand-written part a rewrite leaves as it is."""

import os
import platform
import re
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psutil

FOLDER: Final = Path(__file__).parent
RESULTS: Final = FOLDER / "RESULTS.md"
ORDER: Final = ("callbacks", "steady", "overload", "curve", "sizes", "memory", "purge", "submissions", "console")
_ANALYSIS: Final = re.compile(r"<!-- analysis -->\n(.*?)<!-- /analysis -->\n", re.DOTALL)
_SECTION: Final = re.compile(r"<!-- section (\w+) -->\n(.*?)<!-- /section -->\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text; the first column is aligned left, the rest right, unless they are ``words``."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: bool = False

    def markdown(self) -> str:
        widths = [max(len(cell) for cell in column) for column in zip(self.columns, *self.rows, strict=True)]

        def line(cells: Sequence[str]) -> str:
            padded = [
                cell.rjust(width) if position and not self.words else cell.ljust(width)
                for position, (cell, width) in enumerate(zip(cells, widths, strict=True))
            ]
            return f"| {' | '.join(padded)} |"

        rule = [
            ("-" * (width - 1) + ":") if position and not self.words else "-" * width
            for position, width in enumerate(widths)
        ]
        return "\n".join([line(self.columns), line(rule), *(line(row) for row in self.rows)]) + "\n"


def _moment() -> str:
    return f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC; load average at the end {os.getloadavg()[0]:.1f}."


@dataclass(slots=True)
class Section:
    """The outcome of one measurement. ``how``: what was measured, and in which way."""

    name: str
    title: str
    how: str
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    picture: str | None = None
    ended: str = field(default_factory=_moment)

    def markdown(self) -> str:
        parts = [f"## {self.title}\n", f"{self.how}\n"]
        if self.picture:
            parts.append(f"![{self.title}]({self.picture})\n")
        parts += [table.markdown() for table in self.tables]
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes) + "\n")
        parts.append(f"*{self.ended}*\n")
        return "\n".join(parts)


def median(values: Iterable[float]) -> float:
    return statistics.median(list(values))


def number(value: float) -> str:
    """A number with three figures or so."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(values: Sequence[float]) -> str:
    """The median, and the range where there were several rounds."""
    text = number(median(values))
    return text if len(values) == 1 else f"{text} ({number(min(values))}–{number(max(values))})"


def verdict(value: float, target: float, *, at_least: bool = False) -> str:
    """Whether a target is met."""
    met = value >= target if at_least else value <= target
    return "met" if met else "MISSED"


def say(text: str) -> None:
    """Show progress, or a result, at once."""
    print(text, flush=True)


def write(sections: Sequence[Section], postgres_version: str) -> None:
    """Write RESULTS.md: the sections that were measured now, those of earlier runs, and the analysis as it was."""
    before = RESULTS.read_text() if RESULTS.exists() else ""
    found = dict(_SECTION.findall(before)) | {section.name: section.markdown() for section in sections}
    analysis = _ANALYSIS.search(before)
    text = analysis.group(1) if analysis else "## Analysis\n\n"
    parts = [
        "# Measurements\n",
        "`make bench ARGS='all --write'` writes this file; only the analysis is written by hand.\n",
        f"{machine(postgres_version)}\n",
        f"<!-- analysis -->\n{text}<!-- /analysis -->\n",
        *(f"<!-- section {name} -->\n{found[name]}<!-- /section -->\n" for name in ORDER if name in found),
    ]
    RESULTS.write_text("\n".join(parts))
    say(f"wrote {RESULTS.name}")


def machine(postgres_version: str) -> str:
    """The machine and the versions, as a list."""
    memory = psutil.virtual_memory().total / 2**30
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}",
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB RAM; everything runs on it, the generator too",
        f"{platform.system()} {platform.release()}; an 8 KB write with fdatasync takes {_sync_ms():.2f} ms",
        f"Python {platform.python_version()}, PostgreSQL {postgres_version}, SQLite {sqlite3.sqlite_version}",
    ]
    return "\n".join(f"- {line}" for line in lines) + "\n"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _sync_ms() -> float:
    taken = []
    with tempfile.TemporaryFile() as file:
        for _ in range(50):
            file.write(b"x" * 8192)
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - started)
    return median(taken) * 1000
