"""A group of callbacks: load their tasks, join what is new, save both with the log.

Everything is read first, decided in memory, and written at once, in parts that have no task in common: each is saved
or left out by itself, so that a task that somebody else is at does not make its neighbours' work void. A repeat of an
applied body is counted and goes no further; its first copy's time stays its time, or an old callback would look new.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from app.callbacks import inbox
from app.callbacks.inbox import Callback
from app.database.database import StaleRead
from app.rules.loaded import Loaded, Rules
from app.rules.observation import Disposition, NamedBy, Observation, Source, to_us
from app.rules.task import Task
from app.rules.transition import Change, ChangeResult, ObservationResult
from app.tasks import store, writes
from app.tasks.apply import Effects, UnitOfWork, load_parts, save_parts, step_all
from app.tasks.store import Receipt


class Acknowledgement(msgspec.Struct, frozen=True):
    """What became of a callback. ``usable``: something of it was applied, or there was nothing to apply."""

    disposition: Disposition
    usable: bool
    repeated: bool = False


@dataclass(slots=True)
class GroupResult:
    """``answers`` matches the group; None for a callback that was left out: somebody else is at its task, or has
    changed it, or it takes a transaction and there was none."""

    answers: list[Acknowledgement | None] = field(default_factory=list)
    effects: Effects = field(default_factory=Effects)


def commit(
    conn: sa.Connection, group: Sequence[Callback], rules: Rules, *, wait: bool = False, in_one_statement: bool = False
) -> GroupResult:
    """Store and apply a group of callbacks, in the caller's transaction; a callback whose task somebody else is at is
    left out, or with ``wait`` waited for. ``in_one_statement``: without a transaction; those that need one are left
    out too. Raises ``StaleRead``."""
    unique = _collapse(group)
    changes = [_change(one) for one in unique]
    parts = load_parts(conn, changes, [one.digest for one in unique], wait=wait)
    decided = [
        _decide(conn, unit, [unique[place] for place in places], [changes[place] for place in places], rules)
        for unit, places in parts
    ]
    saved = save_parts(conn, [unit for unit, _ in parts], rules, in_one_statement=in_one_statement)
    if wait and not all(saved):
        raise StaleRead
    answers: dict[bytes, Acknowledgement] = {}
    effects = Effects()
    for (ruled, done), is_saved in zip(decided, saved, strict=True):
        if is_saved:
            answers |= ruled
            effects.add(done)
    return GroupResult([answers.get(one.digest) for one in group], effects)


def _decide(
    conn: sa.Connection, unit: UnitOfWork, group: Sequence[Callback], changes: Sequence[Change], rules: Rules
) -> tuple[dict[bytes, Acknowledgement], Effects]:
    """Join a part of a group in memory, and give it what the log is to have. Returns what becomes of each callback."""
    loaded, receipts = unit.loaded, unit.receipts
    # Tasks that are no more (purged): nothing can be applied to them.
    orphans = frozenset({one.task_id for one in group if one.task_id is not None} - loaded.tasks.keys())
    unkept = _beyond_limit(loaded, group, receipts) | _beyond_allowance(conn, group, receipts, orphans)
    answers = {one.digest: _known_answer(one, receipts.get(one.digest), orphans) for one in group}
    fresh = [(one, change) for one, change in zip(group, changes, strict=True) if answers[one.digest] is None]
    for one, _ in fresh:
        if one.digest not in receipts:
            for task in _charged(loaded, one):
                task.stored_bodies += 1 + len(one.body) // inbox.BODY_UNIT
                # Charged also where nothing of it is applied to the task.
                loaded.dirty_tasks.add(task.id)
    changes_to_apply = [
        _as_repeat(one, change, receipts.get(one.digest), one.digest in unkept) for one, change in fresh
    ]
    effects = step_all(unit, changes_to_apply, rules)
    answers |= {one.digest: _answer_to(one, outcome) for (one, _), outcome in zip(fresh, effects.results, strict=True)}
    ruled = {digest: answer for digest, answer in answers.items() if answer is not None}
    for one in group:
        if one.digest in unkept:
            continue
        receipt, answer = receipts.get(one.digest), ruled[one.digest]
        if receipt is None:
            unit.callbacks.append(inbox.row_of(one, answer.disposition, one.fault))
        elif answer.repeated or answer.disposition in (Disposition.ORPHAN, receipt.disposition):
            # A repeat that changes nothing leaves what became of its first copy.
            unit.callbacks.append(inbox.row_of(one, receipt.disposition))
        else:
            unit.settled_callbacks.append(inbox.settled_row_of(one, answer.disposition))
    return ruled, effects


def store_poisoned(conn: sa.Connection, received: Callback, why: str) -> None:
    """Keep a callback that could not be applied, in a transaction of its own, unless its token has had too many."""
    known = store.load(conn, (), (), [received.digest]).receipts
    if not known and not inbox.allowance(conn, received.task_id, received.family, received.received_at):
        return
    # A repeat leaves what became of its first copy.
    row = inbox.row_of(received, known[0].disposition) if known else inbox.row_of(received, Disposition.POISONED, why)
    store.save(conn, [store.Part({writes.CALLBACKS: [row]})])


def _collapse(group: Sequence[Callback]) -> list[Callback]:
    """One of each key: the same key twice in one statement fails the whole group."""
    unique: dict[bytes, Callback] = {}
    for one in group:
        first = unique.get(one.digest)
        unique[one.digest] = one if first is None else replace(first, times=first.times + one.times)
    return list(unique.values())


def _change(one: Callback) -> Change:
    """What a callback says, as if this were its first copy."""
    named_by = NamedBy.UNBOUND_TOKEN if one.task_id is None else NamedBy.BOUND_TOKEN
    observed_us = to_us(one.received_at)
    observations = tuple(
        Observation(one.family, reading, Source.CALLBACK, observed_us, named_by, fresh=one.fresh)
        for reading in one.readings
    )
    detail = {"callback_id": str(one.id)} | ({"malformed": one.fault} if one.fault else {})
    return Change(one.received_at, "callback", one.task_id, observations, detail=detail)


def _as_repeat(one: Callback, change: Change, receipt: Receipt | None, unkept: bool) -> Change:
    """The change of a callback that was perhaps told before, or is beyond what is kept: quiet, and as of the time
    of its first copy."""
    if receipt is None and not unkept:
        return change
    observed_us = to_us(receipt.received_at if receipt else one.received_at)
    fresh = one.fresh and receipt is None
    observations = tuple(
        replace(observation, observed_us=observed_us, fresh=fresh) for observation in change.observations
    )
    return replace(change, entry=None, observations=observations)


def _beyond_limit(loaded: Loaded, group: Iterable[Callback], receipts: Container[bytes]) -> set[bytes]:
    """Callbacks of tasks that have had too many different ones: applied, counted, but not kept."""
    return {
        one.digest
        for one in group
        if one.digest not in receipts and any(task.stored_bodies >= inbox.MOST_BODIES for task in _charged(loaded, one))
    }


def _beyond_allowance(
    conn: sa.Connection, group: Iterable[Callback], receipts: Container[bytes], orphans: Container[UUID]
) -> set[bytes]:
    """The same for callbacks that no task can be charged with: of a purged task, or of an unbound token and naming no
    item. Their rows in the log are counted instead, for each token: its owner may leak it like any other."""
    new: dict[tuple[UUID | None, str], list[Callback]] = {}
    for one in group:
        nameless = one.task_id is None and not one.readings
        if one.digest not in receipts and (nameless or one.task_id in orphans):
            new.setdefault((one.task_id, one.family), []).append(one)
    beyond: set[bytes] = set()
    for (task_id, family), received in new.items():
        left = inbox.allowance(conn, task_id, family, received[0].received_at)
        beyond.update(one.digest for one in received[left:])
    return beyond


def _charged(loaded: Loaded, one: Callback) -> list[Task]:
    """The tasks on whose account a body is kept: that of its token, or those that hold what an unbound one names."""
    if one.task_id is not None:
        return [loaded.tasks[one.task_id]] if one.task_id in loaded.tasks else []
    held = (loaded.items.get((one.family, reading.item_id)) for reading in one.readings)
    return [loaded.tasks[task_id] for task_id in sorted({item.task_id for item in held if item is not None})]


def _known_answer(one: Callback, receipt: Receipt | None, orphans: frozenset[UUID]) -> Acknowledgement | None:
    """The answer that needs no join: an orphan's, or that of the first copy. None: to be applied."""
    if one.task_id in orphans:
        return Acknowledgement(Disposition.ORPHAN, usable=True)
    if receipt is None or receipt.disposition is Disposition.MISMATCHED:
        return None
    if receipt.disposition is Disposition.MALFORMED and one.fault is None:
        return None  # an earlier release could not read it
    usable = receipt.disposition in (Disposition.APPLIED, Disposition.ORPHAN)
    return Acknowledgement(receipt.disposition, usable, repeated=True)


def _answer_to(one: Callback, outcome: ChangeResult | None) -> Acknowledgement:
    if outcome is None:
        raise AssertionError("a ready callback's tasks are all loaded")
    if one.fault is not None:
        return Acknowledgement(Disposition.MALFORMED, usable=False)
    usable = not outcome.observation_results or ObservationResult.APPLIED in outcome.observation_results
    mismatched = ObservationResult.MISMATCHED in outcome.observation_results
    if one.task_id is None and not outcome.observation_results:
        return Acknowledgement(Disposition.ORPHAN, usable)
    return Acknowledgement(Disposition.MISMATCHED if mismatched else Disposition.APPLIED, usable)
