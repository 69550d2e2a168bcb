"""Render bodies of notifications from their snapshots when they are sent."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import sqlalchemy as sa
import structlog

from app.app_context import Context
from app.database.database import dumps
from app.documents.document import task_document
from app.notifications.outbox import ClaimedNotification
from app.rules.times import rfc3339
from app.tasks import item_rows, task_rows
from app.tasks.notification_rows import Snapshot
from app.tasks.task_rows import TaskInput, TaskRecord

log = structlog.get_logger(__name__)


def rendered(conn: sa.Connection, batch: Sequence[ClaimedNotification], context: Context) -> list[bytes | None]:
    """Render the bodies of notifications, in their order; None where the snapshot cannot be decoded. A body that was
    posted before is kept. Reads in the caller's transaction: two statements, however many there are."""
    decoded = {notification.id: _decode(notification) for notification in batch if notification.body is None}
    snapshots = {notification_id: snapshot for notification_id, snapshot in decoded.items() if snapshot is not None}
    inputs = task_rows.inputs_of(conn, {snapshot.task.id for snapshot in snapshots.values()})
    values = item_rows.values_of(conn, (item for snapshot in snapshots.values() for item in snapshot.items))
    bodies: list[bytes | None] = []
    for notification in batch:
        snapshot = snapshots.get(notification.id)
        if snapshot is None:
            bodies.append(notification.body)
            continue
        # A task that was purged meanwhile is still rendered, without what its client sent.
        record = TaskRecord(snapshot.task, inputs.get(snapshot.task.id, TaskInput({}, {})))
        policy_then = replace(context.policy, unknown_grace_s=snapshot.unknown_grace_s, follow_ups=snapshot.follow_ups)
        document = task_document(record, snapshot.items, values, context, policy=policy_then)
        body = {"type": notification.type, "timestamp": rfc3339(notification.created_at), "data": document}
        bodies.append(dumps(body).encode())
    return bodies


def _decode(notification: ClaimedNotification) -> Snapshot | None:
    try:
        return msgspec.convert(notification.snapshot, Snapshot)
    except msgspec.ValidationError as error:
        log.error("notification.unreadable", notification_id=str(notification.id), error=str(error))
        return None
