"""Commit a group of callbacks: load their tasks, join what is new, save both with the inbound log.

Everything is read first, decided in memory, and written at once, in parts that have no task in common: each is saved
or left out by itself, so that a task that somebody else is at does not make its neighbours' work void. A repeat of an
applied body is counted and goes no further. It keeps the time of its first copy: a repeat of an old callback must not
count as new.
"""

import hashlib
from collections.abc import Collection, Container, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from app.database.database import StaleRead
from app.database.tables import UNCLAIMED, callbacks
from app.rules.loaded_state import Loaded, Rules
from app.rules.observation import Disposition, NamedBy, Observation, Reading, Source
from app.rules.task import EntryType, Task
from app.rules.times import to_us
from app.rules.transition import Change, ChangeResult, ObservationResult
from app.runtime.clock import first_id_of
from app.tasks import state_store, writes
from app.tasks.apply import Effects, UnitOfWork, load_parts, save_parts, step_all
from app.tasks.state_store import Receipt
from app.tasks.writes import Row

MOST_BODIES: Final = 200
"""Bodies stored per task; later ones are only counted, so that a leaked token cannot fill the disk. As many are stored
of a purged task, and in a day of an unbound token's callbacks that name no item."""
BODY_UNIT: Final = 32 * 1024
"""A body counts once more for each so many bytes of it: an ordinary one has 2 to 8 KB."""
_DAY: Final = timedelta(days=1)


class Callback(msgspec.Struct, frozen=True):
    """A callback with a valid token, read. ``digest`` is its key in the log: of (task or nobody, family, body).
    ``fault`` says why it is malformed, and then it has no readings. ``times`` is above 1 where several copies were
    collapsed."""

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


class Acknowledgement(msgspec.Struct, frozen=True):
    """How a callback is answered. ``usable``: something of it was applied, or there was nothing to apply."""

    disposition: Disposition
    usable: bool
    repeated: bool = False


def commit(
    conn: sa.Connection, group: Sequence[Callback], rules: Rules, *, wait: bool = False, in_one_statement: bool = False
) -> tuple[list[Acknowledgement | None], Effects]:
    """Store and apply a group of callbacks, in the caller's transaction; a callback whose task another transaction
    holds, or has changed, is left out, or with ``wait`` waited for. ``in_one_statement``: without a transaction; those
    that need one are left out too. Returns an answer for each of the group, None for one that was left out, and the
    effects. Raises ``StaleRead``."""
    by_digest: dict[bytes, Callback] = {}
    for callback in group:
        # The same key twice in one statement would fail the whole group.
        first = by_digest.get(callback.digest)
        by_digest[callback.digest] = callback if first is None else replace(first, times=first.times + callback.times)
    unique = list(by_digest.values())
    names = [
        (callback.task_id, [(callback.family, reading.item_id) for reading in callback.readings]) for callback in unique
    ]
    parts = load_parts(conn, names, list(by_digest), wait=wait)
    decisions = [_decide(conn, unit, [unique[index] for index in indexes], rules) for unit, indexes in parts]
    saved = save_parts(conn, [unit for unit, _ in parts], rules, in_one_statement=in_one_statement)
    if wait and not all(saved):
        raise StaleRead
    answers: dict[bytes, Acknowledgement] = {}
    effects = Effects()
    for (part_answers, part_effects), is_saved in zip(decisions, saved, strict=True):
        if is_saved:
            answers |= part_answers
            effects.add(part_effects)
    return [answers.get(callback.digest) for callback in group], effects


def _decide(
    conn: sa.Connection, unit: UnitOfWork, group: Sequence[Callback], rules: Rules
) -> tuple[dict[bytes, Acknowledgement], Effects]:
    """Join a part of a group in memory, and add its rows of the inbound log. Returns what becomes of each callback."""
    loaded, receipts = unit.loaded, unit.receipts
    # Tasks that are no more (purged): nothing can be applied to them.
    orphans = frozenset({callback.task_id for callback in group if callback.task_id is not None} - loaded.tasks.keys())
    not_stored = _not_stored(conn, loaded, group, receipts, orphans)
    answers: dict[bytes, Acknowledgement] = {}
    to_apply: list[Callback] = []
    changes: list[Change] = []
    for callback in group:
        receipt = receipts.get(callback.digest)
        if (known := _known_answer(callback, receipt, orphans)) is not None:
            answers[callback.digest] = known
            continue
        if receipt is None:
            for task in _charged(loaded, callback):
                task.stored_bodies += 1 + len(callback.body) // BODY_UNIT
                # Charged also where nothing of it is applied to the task.
                loaded.dirty_tasks.add(task.id)
        to_apply.append(callback)
        changes.append(_change(callback, receipt, is_stored=callback.digest not in not_stored))
    effects = step_all(unit, changes, rules)
    for callback, result in zip(to_apply, effects.results, strict=True):
        answers[callback.digest] = _answer_to(callback, result)
    for callback in group:
        if callback.digest in not_stored:
            continue
        receipt, answer = receipts.get(callback.digest), answers[callback.digest]
        if receipt is None:
            unit.callbacks.append(row_of(callback, answer.disposition, callback.fault))
        elif answer.repeated or answer.disposition in (Disposition.ORPHAN, receipt.disposition):
            # A repeat that changes nothing leaves what became of its first copy.
            unit.callbacks.append(row_of(callback, receipt.disposition))
        else:
            settled = (callback.digest, callback.received_at, answer.disposition.value, None, callback.times)
            unit.settled_callbacks.append(settled)
    return answers, effects


def store_poisoned(conn: sa.Connection, callback: Callback, why: str) -> None:
    """Keep a callback that could not be applied, in a transaction of its own, unless its token has had too many."""
    receipts = state_store.load(conn, (), (), [callback.digest]).receipts
    if not receipts and not allowance(conn, callback.task_id, callback.family, callback.received_at):
        return
    # A repeat leaves what became of its first copy.
    row = row_of(callback, receipts[0].disposition) if receipts else row_of(callback, Disposition.POISONED, why)
    state_store.save(conn, [state_store.Part({writes.CALLBACKS: [row]})])


def _change(callback: Callback, receipt: Receipt | None, *, is_stored: bool) -> Change:
    """The change that a callback makes. A repeat, or one whose body is not stored, has no entry in the timeline; a
    repeat is as of the time of its first copy."""
    first_received_at = receipt.received_at if receipt else callback.received_at
    observations = observations_of(
        callback.task_id, callback.family, callback.readings, first_received_at, fresh=receipt is None
    )
    entry: EntryType | None = "callback" if receipt is None and is_stored else None
    detail = {"callback_id": str(callback.id)} | ({"malformed": callback.fault} if callback.fault else {})
    return Change(callback.received_at, entry, callback.task_id, observations, detail=detail)


def observations_of(
    task_id: UUID | None, family: str, readings: Iterable[Reading], first_received_at: datetime, *, fresh: bool
) -> tuple[Observation, ...]:
    """The observations that a callback makes, as of the time of its first copy. ``task_id``: of its token, None of an
    unbound one. ``fresh``: it is that first copy, as it arrives."""
    named_by = NamedBy.UNBOUND_TOKEN if task_id is None else NamedBy.BOUND_TOKEN
    observed_us = to_us(first_received_at)
    return tuple(
        Observation(family, reading, Source.CALLBACK, observed_us, named_by, fresh=fresh) for reading in readings
    )


def _not_stored(
    conn: sa.Connection,
    loaded: Loaded,
    group: Iterable[Callback],
    receipts: Container[bytes],
    orphans: Container[UUID],
) -> set[bytes]:
    """Callbacks that are applied and counted, but not stored: their tasks have had too many different ones. For those
    that no task can be charged with (of a purged task, or of an unbound token and naming no item) their rows in the log
    are counted instead, for each token: its owner may leak it like any other."""
    beyond: set[bytes] = set()
    by_token: dict[tuple[UUID | None, str], list[Callback]] = {}
    for callback in group:
        nameless = callback.task_id is None and not callback.readings
        if callback.digest in receipts:
            continue
        if nameless or callback.task_id in orphans:
            by_token.setdefault((callback.task_id, callback.family), []).append(callback)
        elif any(task.stored_bodies >= MOST_BODIES for task in _charged(loaded, callback)):
            beyond.add(callback.digest)
    for (task_id, family), of_token in by_token.items():
        allowed = allowance(conn, task_id, family, of_token[0].received_at)
        beyond.update(callback.digest for callback in of_token[allowed:])
    return beyond


def _charged(loaded: Loaded, callback: Callback) -> list[Task]:
    """The tasks that a stored body is charged to: that of its token, or those that own the items that an unbound one
    names."""
    if callback.task_id is not None:
        task = loaded.tasks.get(callback.task_id)
        return [] if task is None else [task]
    owned_items = (loaded.items.get((callback.family, reading.item_id)) for reading in callback.readings)
    return [loaded.tasks[task_id] for task_id in sorted({item.task_id for item in owned_items if item is not None})]


def _known_answer(callback: Callback, receipt: Receipt | None, orphans: frozenset[UUID]) -> Acknowledgement | None:
    """The answer that needs no join: an orphan's, or that of the first copy. None: to be applied."""
    if callback.task_id in orphans:
        return Acknowledgement(Disposition.ORPHAN, usable=True)
    if receipt is None or receipt.disposition is Disposition.MISMATCHED:
        return None
    if receipt.disposition is Disposition.MALFORMED and callback.fault is None:
        return None  # an earlier release could not read it
    usable = receipt.disposition in (Disposition.APPLIED, Disposition.ORPHAN)
    return Acknowledgement(receipt.disposition, usable, repeated=True)


def _answer_to(callback: Callback, result: ChangeResult | None) -> Acknowledgement:
    if result is None:
        raise AssertionError("a ready callback's tasks are all loaded")
    if callback.fault is not None:
        return Acknowledgement(Disposition.MALFORMED, usable=False)
    results = result.observation_results
    return Acknowledgement(
        disposition_of(callback.task_id, results), usable=not results or ObservationResult.APPLIED in results
    )


def disposition_of(task_id: UUID | None, results: Collection[ObservationResult]) -> Disposition:
    """What became of a callback that could be read, by what became of its observations. ``task_id``: of its token; one
    that is bound to nobody and names no item is an orphan."""
    if task_id is None and not results:
        return Disposition.ORPHAN
    return Disposition.MISMATCHED if ObservationResult.MISMATCHED in results else Disposition.APPLIED


def digest_of(task_id: UUID | None, family: str, body: bytes) -> bytes:
    """The key of a callback in the log: never null, so that it can be unique also for those that are bound to
    nobody."""
    bound = task_id.hex if task_id else ""
    digest = hashlib.sha256(f"{bound}\x00{family}\x00".encode())
    digest.update(body)
    return digest.digest()


def row_of(callback: Callback, disposition: Disposition, detail: str | None = None) -> Row:
    """The row of a callback, as ``writes`` has it. ``detail``: why it could not be applied."""
    return (
        callback.id,
        callback.digest,
        callback.task_id,
        callback.family,
        disposition.value,
        callback.body,
        callback.received_at,
        callback.received_at,
        callback.times,
        callback.address,
        detail,
    )


def allowance(conn: sa.Connection, task_id: UUID | None, family: str, at: datetime) -> int:
    """Count how many more bodies may be stored for a task that is no more, or, without a task, for the unbound token of
    a family on the day before ``at``."""
    if task_id is not None:
        charged: sa.ColumnElement[bool] = callbacks.c.task_id == task_id
    else:
        charged = sa.and_(callbacks.c.family == family, callbacks.c.id >= first_id_of(at - _DAY), UNCLAIMED)
    bounded = sa.select(sa.literal(1)).where(charged).limit(MOST_BODIES).subquery()
    return MOST_BODIES - (conn.scalar(sa.select(sa.func.count()).select_from(bounded)) or 0)
