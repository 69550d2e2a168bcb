"""The transaction of a group of callbacks: lock their tasks, log them, join what is new.

Everything is read first (``storage/locking``), decided in memory, and written at once. A repeat of an applied body is
counted and goes no further; its first copy's time stays its time, or an old callback would look new.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from app.domain.board import Board, Rules
from app.domain.observation import Disposition, NamedBy, Observation, Reading, Source, to_us
from app.domain.task import Task
from app.domain.transition import Change, Outcome, Verdict
from app.flows.apply import Applied, Locked, lock, step_all, unlocked, write_back, write_unless_changed
from app.storage import inbox, sets, statements, tasks
from app.storage.database import Conflicted
from app.storage.inbox import Delivery, Receipt


class Received(msgspec.Struct, frozen=True):
    """A callback with a valid token, read. ``fault`` says why it is malformed, and then it has no readings.
    ``times`` is above 1 where several copies were collapsed. ``fresh``: not a replay."""

    id: UUID
    digest: bytes
    task_id: UUID | None
    family: str
    body: bytes
    received_at: datetime
    address: str | None
    readings: tuple[Reading, ...]
    fault: str | None = None
    times: int = 1
    fresh: bool = True


class Ruling(msgspec.Struct, frozen=True):
    """What became of a callback. ``usable``: something of it was applied, or there was nothing to apply."""

    disposition: Disposition
    usable: bool
    repeated: bool = False


@dataclass(slots=True)
class Committed:
    """``rulings`` matches the group; None for a callback whose task another transaction holds."""

    rulings: list[Ruling | None] = field(default_factory=list)
    applied: Applied = field(default_factory=Applied)


def commit_group(
    conn: sa.Connection, group: Sequence[Received], rules: Rules, *, skip_locked: bool = True
) -> Committed:
    """Store and apply a group of callbacks, in the caller's transaction."""
    unique = _collapse(group)
    changes = {one.digest: _change(one) for one in unique}
    locked = lock(conn, list(changes.values()), skip_locked=skip_locked, digests=changes.keys())
    committed, logged = _decide(conn, group, unique, changes, locked, rules)
    write_back(conn, locked.board, rules, *logged)
    return committed


def commit_optimistically(conn: sa.Connection, group: Sequence[Received], rules: Rules) -> Committed:
    """The same in two statements, of which each may be a transaction of its own: nothing is locked between them.
    Raises ``Conflicted``, or the database's error, where that cannot be; then nothing is written, and it is done as
    above."""
    unique = _collapse(group)
    changes = {one.digest: _change(one) for one in unique}
    seen = unlocked(conn, list(changes.values()), changes.keys())
    committed, logged = _decide(conn, group, unique, changes, seen, rules)
    if _is_flooded(seen.board):
        raise Conflicted
    write_unless_changed(conn, seen, rules, *logged)
    return committed


def _decide(
    conn: sa.Connection,
    group: Sequence[Received],
    unique: Sequence[Received],
    changes: Mapping[bytes, Change],
    locked: Locked,
    rules: Rules,
) -> tuple[Committed, list[statements.Change]]:
    """Join a group in memory. Returns what becomes of it, and what the log is to have."""
    board, receipts = locked.board, locked.receipts
    orphans = _orphans(conn, board, unique)
    ready = [one for one in unique if one.task_id in orphans or locked.holds(changes[one.digest])]
    unkept = _beyond_limit(board, ready, receipts) | _beyond_allowance(conn, board, ready, receipts, orphans)
    rulings = {one.digest: _known_ruling(one, receipts.get(one.digest), orphans) for one in ready}
    fresh = [one for one in ready if rulings[one.digest] is None]
    for one in fresh:
        if one.digest not in receipts:
            for task in _charged(board, one):
                task.stored_bodies += 1 + len(one.body) // inbox.BODY_UNIT
    told = [_told(one, changes[one.digest], receipts.get(one.digest), one.digest in unkept) for one in fresh]
    applied = step_all(locked, told, rules)
    rulings |= {one.digest: _ruling(one, outcome) for one, outcome in zip(fresh, applied.outcomes, strict=True)}
    deliveries = [
        _delivery(one, ruling, receipts.get(one.digest))
        for one in ready
        if one.digest not in unkept and (ruling := rulings[one.digest]) is not None
    ]
    return Committed([rulings.get(one.digest) for one in group], applied), inbox.recorded(deliveries, receipts)


def store_poisoned(conn: sa.Connection, received: Received, why: str) -> None:
    """Keep a callback that could not be applied, in a transaction of its own, unless its token has had too many."""
    held = {receipt.digest: receipt for receipt in inbox.receipts(conn, [received.digest])}
    if not held and not inbox.allowance(conn, received.task_id, received.family, received.received_at):
        return
    poisoned = Ruling(Disposition.POISONED, usable=False)
    delivery = _delivery(replace(received, fault=why), poisoned, held.get(received.digest))
    sets.write(conn, inbox.recorded([delivery], held))


def _collapse(group: Sequence[Received]) -> list[Received]:
    """One of each key: the same key twice in one statement fails the whole group."""
    unique: dict[bytes, Received] = {}
    for one in group:
        first = unique.get(one.digest)
        unique[one.digest] = one if first is None else replace(first, times=first.times + one.times)
    return list(unique.values())


def _change(one: Received) -> Change:
    """What a callback says, as if this were its first copy."""
    named_by = NamedBy.UNBOUND_TOKEN if one.task_id is None else NamedBy.BOUND_TOKEN
    observed_us = to_us(one.received_at)
    observations = tuple(
        Observation(one.family, reading, Source.CALLBACK, observed_us, named_by, fresh=one.fresh)
        for reading in one.readings
    )
    detail = {"callback_id": str(one.id)} | ({"malformed": one.fault} if one.fault else {})
    return Change(one.received_at, "callback", one.task_id, observations, detail=detail)


def _told(one: Received, change: Change, receipt: Receipt | None, unkept: bool) -> Change:
    """The change of a callback that was perhaps told before, or is beyond what is kept: quiet, and as of the time
    of its first copy."""
    if receipt is None and not unkept:
        return change
    observed_us = to_us(receipt.received_at if receipt else one.received_at)
    fresh = one.fresh and receipt is None
    observations = tuple(replace(seen, observed_us=observed_us, fresh=fresh) for seen in change.observations)
    return replace(change, entry=None, observations=observations)


def _orphans(conn: sa.Connection, board: Board, group: Iterable[Received]) -> frozenset[UUID]:
    """Tasks that callbacks name and that are no more (purged): nothing can be applied to them."""
    missing = {one.task_id for one in group if one.task_id is not None} - board.tasks.keys()
    return frozenset(missing - tasks.existing(conn, missing))


def _beyond_limit(board: Board, group: Iterable[Received], receipts: Container[bytes]) -> set[bytes]:
    """Callbacks of tasks that have had too many different ones: applied, counted, but not kept."""
    return {
        one.digest
        for one in group
        if one.digest not in receipts and any(task.stored_bodies >= inbox.MOST_BODIES for task in _charged(board, one))
    }


def _beyond_allowance(
    conn: sa.Connection,
    board: Board,
    group: Iterable[Received],
    receipts: Container[bytes],
    orphans: Container[UUID],
) -> set[bytes]:
    """The same for callbacks that no task can be charged with: of a purged task, or of an unbound token and naming no
    item. Their rows in the log are counted instead, for each token: its owner may leak it like any other."""
    new: dict[tuple[UUID | None, str], list[Received]] = {}
    for one in group:
        nameless = one.task_id is None and not one.readings
        if one.digest not in receipts and (nameless or one.task_id in orphans):
            new.setdefault((one.task_id, one.family), []).append(one)
    beyond: set[bytes] = set()
    for (task_id, family), received in new.items():
        left = inbox.allowance(conn, task_id, family, received[0].received_at)
        beyond.update(one.digest for one in received[left:])
    return beyond


def _charged(board: Board, one: Received) -> list[Task]:
    """The tasks on whose account a body is kept: that of its token, or those that hold what an unbound one names."""
    if one.task_id is not None:
        return [board.tasks[one.task_id]] if one.task_id in board.tasks else []
    held = (board.items.get((one.family, reading.item_id)) for reading in one.readings)
    return [board.tasks[task_id] for task_id in sorted({item.task_id for item in held if item is not None})]


MOST_TO_LEAVE: Final = 16
"""A task that had so many bodies leaves no large values that nothing refers to any more. One of the everyday does not
have so many, and to look for such values takes a transaction."""


def _is_flooded(board: Board) -> bool:
    tasks_of = (board.items[key].task_id for key in board.superseded)
    return any(board.tasks[task_id].stored_bodies >= MOST_TO_LEAVE for task_id in tasks_of)


def _delivery(one: Received, ruling: Ruling, receipt: Receipt | None) -> Delivery:
    """A callback as the log is to have it. A repeat that changes nothing leaves what became of its first copy."""
    disposition, detail = ruling.disposition, one.fault
    if receipt is not None:
        detail = None
        if ruling.repeated or disposition in (Disposition.ORPHAN, Disposition.POISONED):
            disposition = receipt.disposition
    return Delivery(
        one.id,
        one.digest,
        one.task_id,
        one.family,
        one.body,
        one.received_at,
        one.address,
        disposition,
        detail,
        one.times,
    )


def _known_ruling(one: Received, receipt: Receipt | None, orphans: frozenset[UUID]) -> Ruling | None:
    """The ruling that needs no join: an orphan's, or that of the first copy. None: to be applied."""
    if one.task_id in orphans:
        return Ruling(Disposition.ORPHAN, usable=True)
    if receipt is None or receipt.disposition is Disposition.MISMATCHED:
        return None
    if receipt.disposition is Disposition.MALFORMED and one.fault is None:
        return None  # an earlier release could not read it
    usable = receipt.disposition in (Disposition.APPLIED, Disposition.ORPHAN)
    return Ruling(receipt.disposition, usable, repeated=True)


def _ruling(one: Received, outcome: Outcome | None) -> Ruling:
    if outcome is None:
        raise AssertionError("a ready callback's tasks are all on the board")
    if one.fault is not None:
        return Ruling(Disposition.MALFORMED, usable=False)
    usable = not outcome.verdicts or Verdict.APPLIED in outcome.verdicts
    mismatched = Verdict.MISMATCHED in outcome.verdicts
    if one.task_id is None and not outcome.verdicts:
        return Ruling(Disposition.ORPHAN, usable)
    return Ruling(Disposition.MISMATCHED if mismatched else Disposition.APPLIED, usable)
