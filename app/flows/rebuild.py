"""A task's items made anew from its record: inbound rows, answers to submissions, and queries in its timeline.

Not all can be: what the record lacks is told as a gap, and then what the stored state has more is no fault.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from app.domain.item import ItemState, join
from app.domain.observation import Disposition, NamedBy, Observation, Reading, Source, to_us
from app.domain.task import Task
from app.flows.replay import observations_of
from app.storage import record, timeline
from app.storage.inbox import MOST_BODIES
from app.storage.timeline import Happened
from app.vendor import decoding, wire
from app.vendor.kinds import FAMILIES

MOST_ENTRIES: Final = 10_000
ItemKey = tuple[str, str]
_APPLIED: Final = (Disposition.APPLIED, Disposition.MISMATCHED)


@dataclass(slots=True)
class Record:
    """What is recorded of a task: its observations, the strongest names first. ``gaps``: what is not, in words.
    ``quiet_us``: for each item the queries of which it is only known that they changed nothing to be seen."""

    observations: list[Observation] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    quiet_us: dict[ItemKey, set[int]] = field(default_factory=dict)

    def states(self, keys: Collection[ItemKey]) -> tuple[dict[ItemKey, ItemState], dict[str, Any]]:
        """The joined states of these items, and their large values by digest."""
        states = {key: ItemState() for key in keys}
        large: dict[str, Any] = {}
        for seen in self.observations:
            if seen.key in states:
                joined = join(states[seen.key], seen)
                states[seen.key] = joined.state
                large |= {joined.state.large[name][1]: value for name, value in joined.large.items()}
        return states, large


def read_record(conn: sa.Connection, task: Task) -> Record:
    """Read what is recorded of a task, in the caller's transaction."""
    found = Record()
    entries = timeline.of_task(conn, task.id, limit=MOST_ENTRIES)
    if len(entries) != task.timeline_seq:
        found.gaps.append("its timeline is not whole")
    if task.stored_bodies >= MOST_BODIES:
        found.gaps.append(f"it had more or larger callbacks than the {MOST_BODIES} whose bodies are kept")
    for entry in entries:
        _read_entry(found, task, entry)
    _read_inbound(conn, found, task, _named_callbacks(entries))
    found.gaps = list(dict.fromkeys(found.gaps))
    return found


def _read_entry(found: Record, task: Task, entry: Happened) -> None:
    if entry.type == "submitted":
        for item_id in entry.detail.get("item_ids", ()):
            found.observations.append(
                Observation(
                    task.family,
                    Reading(item_id),
                    Source.SUBMIT,
                    to_us(entry.at),
                    NamedBy.SUBMIT_ANSWER,
                    sighted=False,
                    fresh=False,
                )
            )
    for note in entry.detail.get("items", ()):
        if "taken_over_from" in note:
            found.gaps.append("an item was taken over from another task, with what was known of it")
        if entry.type == "query" and "item_id" in note:
            _read_query(found, task, note)


def _read_query(found: Record, task: Task, note: dict[str, Any]) -> None:
    """What a query's answer said of an item. Without its time (an earlier release) the statuses alone are sure."""
    asked_at, said = note.get("asked_at"), note.get("said", {})
    if asked_at is None:
        found.gaps.append("a query was recorded without its time")
    observed_us = to_us(datetime.fromisoformat(asked_at)) - note.get("absent_us", 0) if asked_at else 0
    shape = FAMILIES[task.family].shape
    # An earlier release took some of them for other values, of any type.
    statuses = {name: value for name, value in said.items() if name in shape.status_fields and isinstance(value, str)}
    urls, values = {}, {}
    if asked_at is not None:
        urls = {name: value for name, value in said.items() if name in shape.url_fields and isinstance(value, str)}
        values = {name: said[name] for name in said.keys() - statuses.keys() - urls.keys()}
        if not said and not note.get("unknown"):
            found.quiet_us.setdefault((task.family, note["item_id"]), set()).add(observed_us)
    unknown = bool(note.get("unknown"))
    found.observations.append(
        Observation(
            task.family,
            Reading(note["item_id"], statuses, urls, values),
            # Joined again it must not count as a question: the join itself does not ask who says it.
            Source.SUBMIT,
            observed_us,
            sighted=not unknown and asked_at is not None,
            unknown=unknown and asked_at is not None,
            fresh=False,
        )
    )


def _named_callbacks(entries: Iterable[Happened]) -> set[UUID]:
    named = (entry.detail.get("callback_id") for entry in entries if entry.type in ("callback", "replayed"))
    return {UUID(text) for text in named if isinstance(text, str)}


def _read_inbound(conn: sa.Connection, found: Record, task: Task, named: set[UUID]) -> None:
    seen: set[UUID] = set()
    observations: list[Observation] = []
    for logged in record.inbound(conn, task.id, named):
        seen.add(logged.id)
        if logged.task_id not in (None, task.id) or logged.disposition not in _APPLIED:
            continue
        try:
            readings = wire.read_callback(logged.body, FAMILIES[logged.family]).readings
        except decoding.Malformed:
            found.gaps.append("a stored callback cannot be read any more")
            continue
        observations += observations_of(logged, readings)
    if named - seen:
        found.gaps.append("some of its callbacks are not in the inbound log any more")
    # What names items comes before what only speaks of them.
    named_first = [one for one in found.observations if one.named_by is not NamedBy.NOBODY]
    spoken = [one for one in found.observations if one.named_by is NamedBy.NOBODY]
    found.observations = [*named_first, *observations, *spoken]
