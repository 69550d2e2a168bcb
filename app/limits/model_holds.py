"""Hold kinds and models that the vendor does not offer: their tasks are parked, probes go out, and the others go on.

The breakers are rows under the lock of the limit of submissions, so that all replicas decide by the same ones. Tasks
are moved in batches, when a claim meets them: parked when it finds them due, and due again when nothing holds them
any more, be it because a probe was accepted, by hand, or because an alias sends another model now: they are parked
under the model that they name, since what is sent in its place may change. A parked task keeps its place in the queue,
but its due time is out of the range that a claim looks at. It comes due by itself after a while: nothing waits for ever
because somebody forgot it, such as a release that knows nothing of this.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
import structlog

from app.limits import breaker_rows, model_breaker, parked_tasks
from app.limits.fair_order import LockedTasks, lock_next
from app.limits.model_breaker import Breaker, ModelKey, key_of
from app.limits.parked_tasks import PARKED_S
from app.rules.policy import Policy
from app.rules.times import later
from app.tasks import task_rows
from app.tasks.task_rows import TaskRecord
from app.tempolor.answers import Accepted, Refused, SubmitAnswer, Unknown
from app.tempolor.codes import Remedy
from app.tempolor.kinds import model_of, sent_params

MOST_MOVED: Final = 100
"""Tasks that one transaction parks or makes due again."""

OpenBreakers = dict[ModelKey, Breaker]
ParkedNames = dict[ModelKey, list[str]]
"""The names under which tasks are parked, by the key of what is sent for them now."""

log = structlog.get_logger(__name__)


def key_of_task(record: TaskRecord, policy: Policy) -> ModelKey:
    """The key of what a queued task would be sent as now."""
    kind = record.task.kind
    return key_of(kind, model_of(kind, sent_params(kind, record.input.params, policy.model_aliases)))


def open_breakers(conn: sa.Connection, policy: Policy) -> OpenBreakers:
    """Read the open breakers, but for models that this process never sends, since others are sent in their place."""
    never_sent = policy.model_aliases.keys() - policy.model_aliases.values()
    return {key: breaker for key, breaker in breaker_rows.find_open(conn).items() if key.model not in never_sent}


def lock_sendable(
    conn: sa.Connection,
    policy: Policy,
    now: datetime,
    room: int,
    in_flight: Mapping[str, int],
    last_client: str | None,
    *,
    oldest: bool,
) -> LockedTasks:
    """Lock tasks as ``lock_next``, without those of an open breaker, of which the probes that are due go first. Call it
    under the lock of the limit."""
    open_by_key = open_breakers(conn, policy)
    parked = _parked_names(conn, policy)
    has_more = _unpark_others(conn, parked, open_by_key, now)
    probes = _lock_probes(conn, parked, open_by_key, policy, now, room)
    room -= len(probes)
    locked = lock_next(conn, now, room, in_flight, last_client, oldest=oldest)
    if open_by_key and _park(conn, locked, open_by_key, policy, now, oldest=oldest):
        has_more = True
        locked = lock_next(conn, now, room, in_flight, last_client, oldest=oldest)
    free = [record for record in locked.records if key_of_task(record, policy) not in open_by_key]
    return LockedTasks([*probes, *free], locked.last_client, has_more)


def breaker_after(
    before: Breaker | None,
    claimed_at: datetime,
    answer: SubmitAnswer | None,
    now: datetime,
    policy: Policy,
    has_items: bool,
) -> Breaker | None:
    """The breaker of a kind and model after the outcome of one send. ``has_items``: an item of it is known."""
    if isinstance(answer, Accepted) or (isinstance(answer, Unknown) and has_items):
        return model_breaker.accepted(before, claimed_at, now)
    if isinstance(answer, Refused) and answer.meaning.remedy is Remedy.HOLD_MODEL:
        allowed, code = policy.refusals_to_hold, answer.meaning.code
        return model_breaker.refused(before, claimed_at, now, allowed, code, answer.message)
    at_once = answer is None or (isinstance(answer, Refused) and answer.meaning.remedy is Remedy.FAIL)
    return model_breaker.inconclusive(before, claimed_at, now, at_once=at_once)


def save(conn: sa.Connection, key: ModelKey, before: Breaker | None, after: Breaker | None) -> None:
    """Save the breaker that an outcome changed, and log that it opened or closed."""
    if after == before:
        return
    breaker_rows.save(conn, key, after)
    was_held, is_held = before is not None and before.is_open, after is not None and after.is_open
    if after is not None and is_held and not was_held:
        log.error("model.held", kind=key.kind, model=key.model, code=after.code, detail=after.detail)
    elif was_held and not is_held:
        log.warning("model.released", kind=key.kind, model=key.model)


def overview(conn: sa.Connection, policy: Policy, now: datetime) -> list[dict[str, Any]]:
    """Describe what is held, for people: why, since when, how many wait, and when the next probe goes."""
    open_by_key = open_breakers(conn, policy)
    parked = _parked_names(conn, policy) if open_by_key else {}
    return [
        {
            "kind": key.kind,
            "model": key.model or None,
            "reason": breaker.code,
            "detail": breaker.detail or None,
            "since": breaker.held_since,
            "next_probe_at": _next_probe_at(breaker, now),
            "waiting": sum(parked_tasks.count(conn, name) for name in parked.get(key, ())),
        }
        for key, breaker in open_by_key.items()
    ]


def _next_probe_at(breaker: Breaker, now: datetime) -> datetime | None:
    """When the next probe goes; None while one is out."""
    is_out = breaker.probe_out_until(now) is not None
    return None if is_out or breaker.probe_at is None else max(breaker.probe_at, now)


def _parked_names(conn: sa.Connection, policy: Policy) -> ParkedNames:
    parked: ParkedNames = {}
    for name in parked_tasks.keys(conn):
        kind, _, model = name.partition(" ")
        parked.setdefault(key_of(kind, policy.model_aliases.get(model, model)), []).append(name)
    return parked


def _unpark_others(conn: sa.Connection, parked: ParkedNames, open_by_key: OpenBreakers, now: datetime) -> bool:
    """Make tasks due again for which something is sent now whose breaker is not open (any more)."""
    room = MOST_MOVED
    for name in [name for key, names in parked.items() if key not in open_by_key for name in names]:
        if room > 0:
            room -= parked_tasks.unpark(conn, name, now, room)
    return room < MOST_MOVED


def _lock_probes(
    conn: sa.Connection, parked: ParkedNames, open_by_key: OpenBreakers, policy: Policy, now: datetime, room: int
) -> list[TaskRecord]:
    probes: list[TaskRecord] = []
    for key, breaker in open_by_key.items():
        if len(probes) >= room or not model_breaker.probe_is_due(breaker, now):
            continue
        found = [record for name in parked.get(key, ()) if (record := parked_tasks.lock_first(conn, name)) is not None]
        if found:
            breaker_rows.save(conn, key, model_breaker.probing(breaker, later(now, policy.submit_lease_s)))
            probes.append(min(found, key=lambda record: (record.task.submit_attempts, record.task.id)))
    return probes


def _park(
    conn: sa.Connection, locked: LockedTasks, open_by_key: OpenBreakers, policy: Policy, now: datetime, *, oldest: bool
) -> bool:
    """Park the locked tasks of open breakers, and those that stand next in the same clients' queues."""
    waiting = {record.task.id: record for record in _waiting_in(locked.records, open_by_key, policy)}
    clients = dict.fromkeys(None if oldest else record.task.client_name for record in waiting.values())
    for client_name in clients:
        if len(waiting) < MOST_MOVED:
            ahead = task_rows.lock_queued(conn, now, MOST_MOVED, client_name)
            waiting |= {record.task.id: record for record in _waiting_in(ahead, open_by_key, policy)}
    by_name: dict[str, list[Any]] = {}
    for record in list(waiting.values())[:MOST_MOVED]:
        kind = record.task.kind
        by_name.setdefault(key_of(kind, model_of(kind, record.input.params)).text, []).append(record.task.id)
    for name, ids in sorted(by_name.items()):
        parked_tasks.park(conn, ids, name, later(now, PARKED_S))
    return bool(waiting)


def _waiting_in(records: Sequence[TaskRecord], open_by_key: OpenBreakers, policy: Policy) -> list[TaskRecord]:
    return [record for record in records if key_of_task(record, policy) in open_by_key]
