"""The bodies of notifications, made of their snapshots when they are sent."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import sqlalchemy as sa
import structlog

from app.database.database import dumps
from app.documents.document import task_document
from app.notifications.outbox import ClaimedNotification
from app.rules.policy import Policy
from app.rules.timing import rfc3339
from app.tasks import items, task_rows
from app.tasks.notices import Snapshot
from app.tasks.task_rows import Given, Record

log = structlog.get_logger(__name__)


def rendered(conn: sa.Connection, letters: Sequence[ClaimedNotification], policy: Policy) -> list[bytes | None]:
    """The bodies of notifications, in their order; None where the snapshot cannot be read. One that was posted
    before stays as it was. Reads in the caller's transaction: two statements, however many there are."""
    snapshots = {letter.id: _read(letter) for letter in letters if letter.body is None}
    found = {letter_id: snapshot for letter_id, snapshot in snapshots.items() if snapshot is not None}
    given = task_rows.given_of(conn, {snapshot.task.id for snapshot in found.values()})
    values = items.values_of(conn, (item for snapshot in found.values() for item in snapshot.items))
    bodies: list[bytes | None] = []
    for letter in letters:
        snapshot = found.get(letter.id)
        if snapshot is None:
            bodies.append(letter.body)
            continue
        # A task that was purged meanwhile is still told of, without what its client sent.
        record = Record(snapshot.task, given.get(snapshot.task.id, Given({}, {})))
        then = replace(policy, unknown_grace_s=snapshot.unknown_grace_s, follow_ups=snapshot.follow_ups)
        document = task_document(record, snapshot.items, values, then)
        body = {"type": letter.type, "timestamp": rfc3339(letter.created_at), "data": document}
        bodies.append(dumps(body).encode())
    return bodies


def _read(letter: ClaimedNotification) -> Snapshot | None:
    try:
        return msgspec.convert(letter.snapshot, Snapshot)
    except msgspec.ValidationError as error:
        log.error("notification.unreadable", notification_id=str(letter.id), error=str(error))
        return None
