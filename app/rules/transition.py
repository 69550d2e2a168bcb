"""Apply one change: join its observations into items, advance the submission, derive the tasks anew.

Every change of state in the product goes through ``step``: answers to submissions, callbacks, answers to
queries, the passing of time, cancellation. It is pure: it changes what is loaded in memory, and says what happened.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import msgspec

from app.rules.archive_copies import CopyResult, note_asked, note_copy, plan_copies
from app.rules.client import EXTERNAL
from app.rules.derive_task import derive, items_progress
from app.rules.downtime import Absences, absent_s
from app.rules.join import JoinResult, join
from app.rules.loaded_state import DelaySample, Loaded, Milestone, Rules, StatusChange
from app.rules.observation import NamedBy, Observation, Source
from app.rules.schedule import is_ahead, plan_after_answer, plan_after_contact, set_back
from app.rules.submission import SubmissionEvent, advance, lapse
from app.rules.task import Entry, EntryType, Item, Submission, Task
from app.rules.times import from_us, rfc3339, to_us
from app.rules.views import VisibleState, unseen_since_us

MOST_ITEMS: Final = 100
"""Items of one task; only a flood under a leaked token reaches it. A further one is as another task's."""


MOST_NAMED = 24
"""Fields of an item, and notes on items, in one row of the timeline; the others are counted."""
MOST_NAME_CHARS = 64


class ObservationResult(StrEnum):
    """The result of one observation."""

    APPLIED = "applied"
    MISMATCHED = "mismatched"
    """The item belongs to another task, which named it at least as strongly; it was not touched."""
    UNKNOWN_ITEM = "unknown_item"
    """A query's answer about an item that is not ours."""


class Change(msgspec.Struct, frozen=True):
    """One thing that happened, at ``at``. ``entry`` is its type in the timeline and ``detail`` what it says there.

    ``task_id`` is None where the observations alone say whose they are (a query's answer, an unbound token).
    ``entry`` is None for what leaves a row only if it changed the status (a tick of the clock). ``absences``: in
    which time nobody could ask; without them the clock passes no verdict (a callback waits for no such reading).
    """

    at: datetime
    entry: EntryType | None
    task_id: UUID | None = None
    observations: tuple[Observation, ...] = ()
    event: SubmissionEvent | None = None
    detail: dict[str, Any] = msgspec.field(default_factory=dict)
    absences: Absences | None = None
    copies: tuple[CopyResult, ...] = ()


class ChangeResult(msgspec.Struct, frozen=True):
    """``observation_results``: one for each observation, in order. ``rejected``: the submission's guard refused the
    event. ``task_ids``: the tasks that the change reached."""

    observation_results: tuple[ObservationResult, ...]
    rejected: bool
    task_ids: tuple[UUID, ...]


def step(loaded: Loaded, change: Change, rules: Rules) -> ChangeResult:
    """Apply one change to what is loaded. The tasks that it names and the owners of its items must be among it."""
    notes_by_task: dict[UUID, list[dict[str, Any]]] = {}
    rejected = False
    if change.task_id is not None and (task := loaded.tasks.get(change.task_id)):
        _reach(loaded, task, rules, notes_by_task)
        if change.event is not None:
            has_items = bool(loaded.items_of(task))
            rejected = not advance(task, change.event, change.at, has_items, rules.policy)
    observation_results = tuple(
        _observe(loaded, change, observation, rules, notes_by_task) for observation in change.observations
    )
    for result in change.copies:
        if change.task_id in notes_by_task and (note := note_copy(loaded, result)) is not None:
            notes_by_task[change.task_id].append(note)
    for task_id, notes in notes_by_task.items():
        if task_id not in loaded.removed:
            late = rejected and task_id == change.task_id
            effective = msgspec.structs.replace(change, detail={**change.detail, "late": True}) if late else change
            _conclude(loaded, loaded.tasks[task_id], effective, notes, rules)
    return ChangeResult(observation_results, rejected, tuple(notes_by_task))


def _reach(loaded: Loaded, task: Task, rules: Rules, notes_by_task: dict[UUID, list[dict[str, Any]]]) -> None:
    """Open the notes of a task that the change reaches, and keep its visible state from before."""
    notes_by_task.setdefault(task.id, [])
    if task.id not in loaded.visible:
        loaded.visible[task.id] = VisibleState(task, items_progress(loaded, task, rules))


def _observe(
    loaded: Loaded,
    change: Change,
    observation: Observation,
    rules: Rules,
    notes_by_task: dict[UUID, list[dict[str, Any]]],
) -> ObservationResult:
    item, verdict = _find_or_bind(loaded, change, observation, rules, notes_by_task)
    if item is None:
        return verdict
    task = loaded.tasks[item.task_id]
    _reach(loaded, task, rules, notes_by_task)
    if observation.fault is not None:
        notes_by_task[task.id] += _note_fault(loaded, item, observation.fault)
        return verdict
    seen, absent_us = observation, 0
    if observation.unknown and change.absences:
        # Time in which nobody could ask does not count for how long the vendor has not known the item.
        absent_us = round(absent_s(change.absences, from_us(unseen_since_us(item, task))) * 1_000_000)
        seen = msgspec.structs.replace(observation, observed_us=observation.observed_us - absent_us)
    joined = join(item.state, seen)
    _store_joined(loaded, task, item, observation, joined, rules)
    _note_contact(item, task, observation, bool(joined.changed), change.at, rules)
    note: dict[str, Any] = {"item_id": item.item_id}
    if observation.reading.event is not None:
        note["event"] = observation.reading.event
    if observation.unknown:
        note["unknown"] = True
    note |= _note_of_fields(joined.changed)
    if absent_us:
        note["absent_us"] = absent_us
    if observation.source is Source.QUERY:
        note |= _answered(item, observation, news=bool(joined.changed))
    notes_by_task[task.id].append(note)
    return verdict


def _store_joined(
    loaded: Loaded, task: Task, item: Item, observation: Observation, joined: JoinResult, rules: Rules
) -> None:
    """Store what a join brought: the state, its large values, new links, and how long the vendor took."""
    if joined.first_event and observation.fresh and not task.external:
        since_us = joined.since_event_us
        if since_us is None:
            since_us = observation.observed_us - to_us(task.claimed_at or task.created_at)
        delay_s = max(since_us, 0) / 1_000_000
        if delay_s <= rules.policy.deadline_s:  # else a clock was set, or we were away: no habit of the vendor's
            loaded.delay_samples.append(DelaySample(task.kind, len(item.state.events), delay_s))
    loaded.sources[item.key] = observation.source
    item.state = joined.state
    if rules.policy.archives and (links := rules.shapes[item.family].url_fields & joined.changed.keys()):
        loaded.new_links[item.key] = loaded.new_links.get(item.key, frozenset()) | links
    loaded.dirty_items.add(item.key)
    for name, value in joined.large.items():
        loaded.large[(item.family, item.item_id, joined.state.large[name][1])] = value
    if joined.superseded:
        loaded.superseded.add(item.key)


def _find_or_bind(
    loaded: Loaded,
    change: Change,
    observation: Observation,
    rules: Rules,
    notes_by_task: dict[UUID, list[dict[str, Any]]],
) -> tuple[Item | None, ObservationResult]:
    """Find the item that an observation names, bound to the task that names it most strongly."""
    item = loaded.items.get(observation.key)
    if observation.named_by is NamedBy.NOBODY:
        return (item, ObservationResult.APPLIED) if item else (None, ObservationResult.UNKNOWN_ITEM)
    claimant = loaded.tasks.get(change.task_id) if change.task_id else None
    if item is None and claimant is not None and len(loaded.items_of(claimant)) >= MOST_ITEMS:
        return None, ObservationResult.MISMATCHED
    if item is None:
        task = claimant or new_external(loaded, change.at, observation.family, EXTERNAL, rules)
        _reach(loaded, task, rules, notes_by_task)
        item = loaded.new_item(observation.family, observation.reading.item_id, task, observation.named_by)
        item.created_at = change.at
        if task.submission in (Submission.QUEUED, *ENDED_WITHOUT_VENDOR):
            notes_by_task[task.id].append({"item_id": item.item_id, "flag": f"named_while_{task.submission}"})
        return item, ObservationResult.APPLIED
    owner = loaded.tasks[item.task_id]
    if claimant is None:
        return (item, ObservationResult.APPLIED) if owner.external else (None, ObservationResult.MISMATCHED)
    if owner.id == claimant.id:
        item.named_by = max(item.named_by, observation.named_by)
        return item, ObservationResult.APPLIED
    if observation.named_by <= item.named_by:
        return None, ObservationResult.MISMATCHED
    _take_over(loaded, item, owner, claimant, observation.named_by, rules, notes_by_task)
    return item, ObservationResult.APPLIED


ENDED_WITHOUT_VENDOR: Final = (Submission.REFUSED, Submission.CANCELED, Submission.LAPSED)
"""An item of such a task, or of one that is still queued, contradicts what we believe of its submission; the
contradiction is flagged."""


def _take_over(
    loaded: Loaded,
    item: Item,
    owner: Task,
    claimant: Task,
    named_by: int,
    rules: Rules,
    notes_by_task: dict[UUID, list[dict[str, Any]]],
) -> None:
    """Move an item to the task that names it more strongly; an external task that lost its only item is removed."""
    _reach(loaded, owner, rules, notes_by_task)
    _reach(loaded, claimant, rules, notes_by_task)
    loaded.move_item(item, claimant.id)
    item.named_by = named_by
    notes_by_task[owner.id].append({"item_id": item.item_id, "taken_over_by": str(claimant.id)})
    notes_by_task[claimant.id].append({"item_id": item.item_id, "taken_over_from": str(owner.id)})
    if owner.external and not loaded.items_of(owner):
        loaded.removed.add(owner.id)


def new_external(loaded: Loaded, at: datetime, family: str, client_name: str, rules: Rules) -> Task:
    """Make a new task for an item that nobody submitted through us, among what is loaded."""
    task = Task(
        id=rules.new_id(),
        kind=f"{family}.external",
        family=family,
        client_name=client_name,
        sung=rules.shapes[family].sections_field is not None,
        created_at=at,
        submission=Submission.EXTERNAL,
        updated_at=at,
        version=0,
        new=True,
    )
    loaded.add_task(task)
    return task


def _note_contact(item: Item, task: Task, observation: Observation, news: bool, now: datetime, rules: Rules) -> None:
    """Record when the vendor was last in contact about an item, and when to ask next."""
    at = from_us(observation.observed_us)
    if is_ahead(at, now):
        at = now  # the clock was set back meanwhile
    if observation.source is Source.CALLBACK:
        item.last_callback_at = max(item.last_callback_at or at, at)
        if observation.fresh:
            plan_after_contact(item, task, at, rules)
    elif observation.source is Source.QUERY:
        item.last_query_at = max(item.last_query_at or at, at)
        note_asked(item)
        plan_after_answer(item, at, observation.leased_until, news=news, unknown=observation.unknown, rules=rules)
    elif item.new:
        plan_after_contact(item, task, at, rules)


def _note_fault(loaded: Loaded, item: Item, fault: str) -> list[dict[str, Any]]:
    """Count a question about an item that brought no usable answer. The first of a row is an entry of the timeline; the
    others are only counted."""
    is_news = item.query_fault != fault
    item.query_fault, item.query_faults = fault, 1 if is_news else item.query_faults + 1
    loaded.dirty_items.add(item.key)
    return [{"item_id": item.item_id, "fault": fault}] if is_news else []


def _answered(item: Item, observation: Observation, *, news: bool) -> dict[str, Any]:
    """What a query's answer adds to the note of it: when it was asked, the faults that it ends, and the vendor's values
    where they are new. Callbacks are kept as they came; of a query's answer this is all that is kept."""
    note: dict[str, Any] = {"asked_at": rfc3339(from_us(observation.observed_us))}
    if item.query_fault is not None:
        note["after_faults"] = {"fault": item.query_fault, "times": item.query_faults}
        item.query_fault, item.query_faults = None, 0
    if news:
        note["said"] = {**observation.reading.statuses, **observation.reading.urls, **observation.reading.values}
    return note


def _note_of_fields(changed: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Describe changed fields: statuses with before and after, others by name, since values can be large, and URLs are
    signed."""
    status_changes = {name: list(pair) for name, pair in changed.items() if name.endswith("status")}
    names = sorted(name for name in changed if name not in status_changes)
    listed = {"fields": [name[:MOST_NAME_CHARS] for name in names[:MOST_NAMED]]} if names else {}
    more = {"more_fields": len(names) - MOST_NAMED} if len(names) > MOST_NAMED else {}
    return ({"statuses": status_changes} if status_changes else {}) | listed | more


def _milestones(task: Task, before: VisibleState, now: VisibleState, at: datetime) -> list[Milestone]:
    """What the client of a task is to be notified of."""
    if task.webhook_url is None:
        return []
    wanted = task.webhook_events
    return [
        Milestone(task.id, name, at) for name in before.milestones_to(now) if wanted is None or f"task.{name}" in wanted
    ]


def _conclude(loaded: Loaded, task: Task, change: Change, notes: list[dict[str, Any]], rules: Rules) -> None:
    """Let time act, derive the task, and write its timeline: one row for the change, with its effects inside."""
    at = change.at
    if task.updated_at is not None and not is_ahead(task.updated_at, at):
        # It was taken before a lock was waited for, and something was written meanwhile. (Or, where that lies further
        # ahead, the clock has been set back since.)
        at = max(at, task.updated_at)
    if change.absences is not None:
        loaded.dirty_items |= set_back(task, loaded.items_of(task), at, rules.policy)
    lapsed = lapse(task, at, bool(loaded.items_of(task)), rules.policy, change.absences)
    if rules.policy.archives:
        plan_copies(loaded, task, rules.shapes[task.family], at)
    before = task.status
    visible_now, expired = derive(loaded, task, at, rules, change.absences)
    visible_before, loaded.visible[task.id] = loaded.visible[task.id], visible_now
    is_visible = visible_now != visible_before or (task.new and not task.version)
    loaded.milestones += _milestones(task, visible_before, visible_now, at)
    if is_visible:
        task.version += 1
        task.updated_at = at
    loaded.dirty_tasks.add(task.id)
    moved = {"status": [before, task.status]} if task.status is not before else {}
    repeats_fault = not notes and any(observation.fault is not None for observation in change.observations)
    entry = None if repeats_fault else change.entry
    types = [name for name in (entry, lapsed, "expired" if expired else None) if name]
    if (moved or is_visible) and not types:
        # Whoever reads on from a time finds each change by its row.
        types = ["changed"]
    for position, name in enumerate(types):
        first, last = position == 0, position == len(types) - 1
        detail: dict[str, Any] = dict(change.detail) if first and entry else {}
        if first and notes:
            detail["items"] = notes[:MOST_NAMED]
            if len(notes) > MOST_NAMED:
                detail["more_notes"] = len(notes) - MOST_NAMED
        loaded.entries.setdefault(task.id, []).append(Entry(at, name, detail | (moved if last else {})))
    if moved:
        loaded.status_changes.append(StatusChange(task, before, task.status))
