"""A task's timeline, read: what happened together becomes one step."""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

WIDTH: Final = 116


@dataclass(slots=True)
class Step:
    """One thing that happened, ``at_s`` seconds after the first. ``moved``: the statuses before and after."""

    at_s: float
    type: str
    events: list[str] = field(default_factory=list)
    moved: tuple[str, str] | None = None

    def __str__(self) -> str:
        what = " ".join([self.type.replace("_", " "), *self.events])
        if self.moved is None or self.moved[1] == self.type:
            return f"{self.at_s:.2f} {what}"
        return f"{self.at_s:.2f} {what} → {self.moved[1]}"


def read_steps(entries: Iterable[dict[str, Any]]) -> list[Step]:
    """The steps of a timeline, in order."""
    steps: dict[int, Step] = {}
    began: datetime | None = None
    for entry in entries:
        at = datetime.fromisoformat(entry["at"])
        began = began or at
        detail = entry["detail"]
        step = steps.setdefault(entry["seq"], Step((at - began).total_seconds(), entry["type"]))
        if entry["type"] == "status":
            step.moved = (detail["from"], detail["to"])
        else:
            step.events = [item["event"] for item in detail.get("items", ()) if item.get("event")]
    return list(steps.values())


def first(steps: Iterable[Step], type_: str) -> Step | None:
    """The first step of a type."""
    return next((step for step in steps if step.type == type_), None)


def arrival(steps: Iterable[Step], status: str) -> Step | None:
    """The step that brought a status for the first time."""
    return next((step for step in steps if step.moved is not None and step.moved[1] == status), None)


def tell(title: str, steps: Iterable[Step], width: int = WIDTH) -> str:
    """A timeline in a few lines."""
    text = " · ".join(str(step).replace(" ", "\xa0") for step in steps)
    lines = textwrap.wrap(text, max(width - 4, 40), break_on_hyphens=False)
    return "\n".join([title, *(f"    {line}" for line in lines)]).replace("\xa0", " ")
