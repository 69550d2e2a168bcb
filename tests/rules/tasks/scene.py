"""The pure core set up for a scenario: times, rules, boards, and what somebody says about an item."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from app.rules.downtime import Absence, Absences
from app.rules.join import ItemState, join
from app.rules.loaded_state import Loaded, Rules
from app.rules.observation import NamedBy, Observation, Reading, Source
from app.rules.policy import Policy
from app.rules.submission import Canceled, Claimed, GivenBack, SubmissionEvent, WasAccepted, WasRefused, WasUnknown
from app.rules.task import EntryType, Failure, Item, Task
from app.rules.times import to_us
from app.rules.transition import Change, ChangeResult, step
from app.rules.views import ItemView, view_item
from app.tempolor.kinds import FAMILIES

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
POLICY = Policy()

_numbers = itertools.count(1)


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def us(seconds: float) -> int:
    return to_us(after(seconds))


def away(since: float, until: float, *, jumped: bool = False) -> Absence:
    """Nobody could ask in this time."""
    return Absence(after(since), after(until), jumped)


def fresh_id() -> UUID:
    return UUID(int=0x0192_0000_0000_7000_8000_0000_0000_0000 + next(_numbers))


def rules(policy: Policy = POLICY, overdue_s: float = 240.0) -> Rules:
    return Rules(
        policy=policy,
        shapes={family.name: family.shape for family in FAMILIES.values()},
        overdue_s=lambda kind, stage: overdue_s,
        jitter=lambda: 0.0,
        new_id=fresh_id,
    )


def new_task(kind: str = "song.generate", sung: bool | None = None, **given: Any) -> Task:
    family = kind.partition(".")[0]
    sung = family == "song" if sung is None else sung
    return Task(fresh_id(), kind, family, "studio", sung, created_at=T0, **given)


def says(item_id: str = "i1", seconds: float = 60, **given: Any) -> Observation:
    """What the vendor says of one item. Field names tell which part of the reading a word belongs to."""
    about = ("family", "source", "named_by", "sighted", "unknown", "fresh")
    rest = {name: given.pop(name) for name in about if name in given}
    family = rest.pop("family", "song")
    event = given.pop("event", None)
    shape = FAMILIES[family].shape
    reading = Reading(
        item_id,
        {name: text for name, text in given.items() if name in shape.status_fields},
        {name: text for name, text in given.items() if name in shape.url_fields},
        {name: v for name, v in given.items() if name not in shape.status_fields | shape.url_fields},
        event,
    )
    rest.setdefault("source", Source.CALLBACK)
    if rest["source"] is Source.CALLBACK:
        rest.setdefault("named_by", NamedBy.BOUND_TOKEN)
    return Observation(family, reading, observed_us=us(seconds), **rest)


def shows(item_id: str = "i1", seconds: float = 60, **given: Any) -> Observation:
    """A query's answer that shows the item."""
    return says(item_id, seconds, source=Source.QUERY, **given)


def denies(item_id: str = "i1", seconds: float = 60, **given: Any) -> Observation:
    """A query's answer without the item."""
    return says(item_id, seconds, source=Source.QUERY, sighted=False, unknown=True, **given)


def names(item_id: str = "i1", seconds: float = 0, family: str = "song") -> Observation:
    """The answer to a submission: it only names the item."""
    return says(item_id, seconds, family=family, source=Source.SUBMIT, named_by=NamedBy.SUBMIT_ANSWER, sighted=False)


def stranger_says(item_id: str = "i1", seconds: float = 60, **given: Any) -> Observation:
    """A callback under the unbound token."""
    return says(item_id, seconds, named_by=NamedBy.UNBOUND_TOKEN, **given)


def joined(*observations: Observation, start: ItemState | None = None) -> ItemState:
    state = start or ItemState()
    for seen in observations:
        state = join(state, seen).state
    return state


class Story:
    """Loaded tasks that are told what happens, second by second."""

    def __init__(self, *tasks: Task, policy: Policy = POLICY, overdue_s: float = 240.0) -> None:
        self.loaded = Loaded()
        self.rules = rules(policy, overdue_s)
        self.policy = policy
        self.tasks = list(tasks) or [new_task()]
        self.submit_ids: dict[UUID, UUID] = {}
        for task in self.tasks:
            self.loaded.add_task(task)

    @property
    def task(self) -> Task:
        return self.tasks[0]

    def happens(
        self,
        seconds: float,
        *observations: Observation,
        event: SubmissionEvent | None = None,
        task: Task | None = None,
        entry: EntryType | None = "resolved",
        absences: Absences | None = (),
    ) -> ChangeResult:
        task_id = task.id if task else None
        change = Change(after(seconds), entry, task_id, observations, event, absences=absences)
        return step(self.loaded, change, self.rules)

    def called_back(self, seconds: float, *seen: Observation, task: Task | None = None) -> ChangeResult:
        """A callback under the bound token of a task, received now."""
        stamped = [replace(one, observed_us=us(seconds)) for one in seen]
        return self.happens(seconds, *stamped, task=task or self.task)

    def told_by_stranger(self, seconds: float, *seen: Observation) -> ChangeResult:
        return self.happens(seconds, *[replace(one, observed_us=us(seconds)) for one in seen])

    def queried(self, seconds: float, *seen: Observation, absences: Absences = ()) -> ChangeResult:
        return self.happens(seconds, *[replace(one, observed_us=us(seconds)) for one in seen], absences=absences)

    def unanswered(self, seconds: float, again_s: float = 15, item_id: str = "i1") -> None:
        """A question was asked in vain, and is asked again."""
        item = self.item(item_id)
        item.query_due_at, item.query_leased_until = after(seconds + again_s), None

    def ticks(self, seconds: float, task: Task | None = None, absences: Absences = ()) -> ChangeResult:
        return self.happens(seconds, task=task or self.task, entry=None, absences=absences)

    def claimed(self, seconds: float = 0, task: Task | None = None) -> ChangeResult:
        task = task or self.task
        self.submit_ids[task.id] = fresh_id()
        return self.happens(seconds, event=Claimed(self.submit_ids[task.id]), task=task)

    def accepted(self, seconds: float, item_ids: Sequence[str] = ("i1",), task: Task | None = None) -> ChangeResult:
        task = task or self.task
        named = [names(one, family=task.family) for one in item_ids]
        return self.happens(seconds, *named, event=WasAccepted(), task=task)

    def refused(
        self, seconds: float, again_s: float | None = None, task: Task | None = None, submit_id: UUID | None = None
    ) -> ChangeResult:
        task = task or self.task
        failure = Failure("content_violation", "not allowed", retryable=False, vendor_status=400004)
        again_at = None if again_s is None else after(again_s)
        event = WasRefused(submit_id or self.submit_ids[task.id], failure, again_at)
        return self.happens(seconds, event=event, task=task)

    def outcome_unknown(self, seconds: float, task: Task | None = None, submit_id: UUID | None = None) -> ChangeResult:
        task = task or self.task
        event = WasUnknown(submit_id or self.submit_ids[task.id])
        return self.happens(seconds, event=event, task=task)

    def given_back(self, seconds: float, task: Task | None = None, submit_id: UUID | None = None) -> ChangeResult:
        task = task or self.task
        return self.happens(seconds, event=GivenBack(submit_id or self.submit_ids[task.id]), task=task)

    def canceled(self, seconds: float, task: Task | None = None) -> ChangeResult:
        return self.happens(seconds, event=Canceled(), task=task or self.task)

    def item(self, item_id: str = "i1") -> Item:
        return self.loaded.items[(self.task.family, item_id)]

    def owner(self, item_id: str = "i1") -> Task:
        return self.loaded.tasks[self.item(item_id).task_id]

    def view(self, item_id: str = "i1") -> ItemView:
        item = self.item(item_id)
        task = self.owner(item_id)
        return view_item(item, task, FAMILIES[task.family].shape, self.policy)

    def entry_types(self, task: Task | None = None) -> list[str]:
        return [entry.type for entry in self.loaded.entries.get((task or self.task).id, [])]


def running_story(item_ids: Sequence[str] = ("i1",), kind: str = "song.generate", **given: Any) -> Story:
    """A task that was claimed at 0 s and accepted at 1 s."""
    sung = given.pop("sung", None)
    story = Story(new_task(kind, sung), **given)
    story.claimed(0)
    story.accepted(1, item_ids)
    return story
