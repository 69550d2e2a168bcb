"""What a record says: documents, by what changed in them since they were last seen, and everything by lasting names.

Ids become names in the order in which they appear, times seconds since the beginning of the script, and what is
another in each run (ports, secrets, tokens, ids of requests) is taken out.
"""

import difflib
import json
import re
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tests.stories.trace.processes import BEGINNING

Document = dict[str, Any]

_ID: Final = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_TIME: Final = re.compile(r"\b2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_TOKEN: Final = re.compile(r"(/callbacks/[a-z]+/)([\w=-]{40,})")
_PORT: Final = re.compile(r"127\.0\.0\.1:(\d+)")
_DROPPED: Final = ("request_id", "instance")
MOST_DIFF_LINES: Final = 60


class Names:
    """Lasting names of what is another in each run."""

    def __init__(self) -> None:
        self._by_id: dict[str, str] = {}
        self._tokens: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self.hosts: dict[str, str] = {}

    def __contains__(self, uuid: str) -> bool:
        return uuid in self._by_id

    def give(self, uuid: str, name: str) -> None:
        """The name that the script chose."""
        self._by_id.setdefault(uuid, name)

    def id_of(self, name: str) -> str | None:
        """The id that has a name."""
        return next((uuid for uuid, one in self._by_id.items() if one == name), None)

    def of(self, uuid: str, kind: str = "id") -> str:
        """The name of an id; the next of its kind for one that is new."""
        if uuid not in self._by_id:
            self._by_id[uuid] = self._next(kind)
        return self._by_id[uuid]

    def plain(self, text: str) -> str:
        """A text with names in place of what changes from run to run."""
        text = _TOKEN.sub(lambda found: found[1] + self._token(found[2]), text)
        text = _ID.sub(lambda found: self.of(found[0]), text)
        text = _TIME.sub(lambda found: f"{seconds(found[0]):g}s", text)
        return _PORT.sub(lambda found: self.hosts.get(found[1], "nobody"), text)

    def line(self, value: Any) -> str:
        """A value in one line."""
        return self.plain(json.dumps(_without(value), sort_keys=True, ensure_ascii=True))

    def _token(self, token: str) -> str:
        if token not in self._tokens:
            self._tokens[token] = f"<{self._next('token')}>"
        return self._tokens[token]

    def _next(self, kind: str) -> str:
        self._counts[kind] += 1
        return f"{kind}-{self._counts[kind]}"


def seconds(time: str) -> float:
    """Seconds since the beginning."""
    return round((datetime.fromisoformat(time) - BEGINNING).total_seconds(), 2)


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(one) for key, one in value.items() if key not in _DROPPED}
    return [_without(one) for one in value] if isinstance(value, list) else value


def flat(document: Document, path: str = "") -> dict[str, Any]:
    """The leaves of a document by their paths; a list is a leaf."""
    found: dict[str, Any] = {}
    for key, value in document.items():
        if key in _DROPPED:
            continue
        if isinstance(value, dict) and value:
            found |= flat(value, f"{path}{key}.")
        else:
            found[f"{path}{key}"] = value
    return found


def parts(name: str, task: Document) -> dict[str, Document]:
    """A task and its items as documents of their own."""
    own = {key: value for key, value in task.items() if key != "items"}
    return {name: own} | {f"{name}/{item['item_id']}": item for item in task["items"]}


def changes(before: Document | None, after: Document, names: Names, sign: str = "→") -> list[str]:
    """What changed, a line each; of what is new all that is not empty."""
    if before is None:
        return [f"{key}: {names.line(value)}" for key, value in after.items() if value not in (None, {}, [])]
    if before == after:
        return []
    old, new = flat(before), flat(after)
    lines: list[str] = []
    for path in sorted(old.keys() | new.keys()):
        # Most are the same, and a line takes longer than to see that.
        if old.get(path) != new.get(path):
            was, now = names.line(old.get(path)), names.line(new.get(path))
            lines += [f"{path}: {was} {sign} {now}"] if was != now else []
    return lines


def difference(kept: Path, told: str, *, is_part: bool = False) -> str:
    """How what was told differs from what is kept, in short; empty where it does not. ``is_part``: told was only the
    beginning."""
    before = kept.read_text().splitlines() if kept.exists() else []
    if is_part:
        before = before[: len(told.splitlines())]
    lines: list[str] = []
    for line in list(difflib.unified_diff(before, told.splitlines(), "recorded", "now", lineterm="", n=2)):
        lines.append(line)
        if line.startswith("@@"):
            at = int(line.split("-")[1].split(",")[0].split(" ")[0])
            lines.append(next((one for one in reversed(before[:at]) if one.startswith("#")), ""))
    more = len(lines) - MOST_DIFF_LINES
    return "\n".join(lines[:MOST_DIFF_LINES] + ([f"… and {more} lines more"] if more > 0 else []))
