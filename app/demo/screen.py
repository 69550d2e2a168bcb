"""How the tasks are shown while they run: a live table on a terminal, else one line for each change."""

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Protocol, Self

from rich.box import SIMPLE
from rich.console import Console
from rich.live import Live
from rich.table import Table

from app.demo.story import STORY
from tempolor_gateway_client import Task

_MARKS: Final = {"ready": "✓", "pending": "…", "failed": "✗"}
_STYLES: Final = {
    "queued": "dim",
    "submitting": "dim",
    "unconfirmed": "yellow",
    "running": "cyan",
    "main_succeeded": "blue",
    "succeeded": "green",
}
_FAULTS: Final = {part.kind: part.fault or "" for part in STORY}


class Screen(Protocol):
    """Something that is told of the tasks again and again."""

    def show(self, tasks: list[Task], at_s: float) -> None:
        """``at_s``: seconds since the demo's first task."""


class Lines:
    """Plain lines, one for each change."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: dict[str, tuple[str, str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None

    def show(self, tasks: list[Task], at_s: float) -> None:
        for task in tasks:
            now = (task.status, _results(task))
            if self._shown.get(task.id) == now:
                continue
            self._shown[task.id] = now
            self._console.print(f"{at_s:6.2f}  {task.kind:<22} {now[0]:<15} {now[1]}".rstrip())


class LiveTable:
    """A table that is drawn anew in its place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=8)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def show(self, tasks: list[Task], at_s: float) -> None:
        table = Table(box=SIMPLE, caption=f"{at_s:.0f} s", caption_justify="left")
        for heading, least in (("kind", 21), ("status", 14), ("results", 8), ("fault", 14)):
            table.add_column(heading, min_width=least, no_wrap=heading != "results")
        for task in tasks:
            status = task.status
            style = _STYLES.get(status, "red")
            table.add_row(task.kind, f"[{style}]{status}[/]", _results(task), _FAULTS.get(task.kind, ""))
        self._live.update(table)


def screen_for(console: Console) -> AbstractContextManager[Screen]:
    """The one that fits the place where the output goes."""
    return LiveTable(console) if console.is_terminal else Lines(console)


def _results(task: Task) -> str:
    """What has been made, and what is still to come."""
    shown = []
    for item in task.items:
        shown += [f"{_MARKS[file.status]}{name}" for name, file in item.artifacts.items()]
        if item.lyrics is not None:
            shown.append("✓lyrics")
        if item.lyrics_sections is not None:
            shown.append("✓aligned")
    return "  ".join(shown)
