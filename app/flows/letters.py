"""Writing notifications: each milestone becomes a row of the outbox, in the transaction of the change itself."""

import sqlalchemy as sa

from app.caller.urls import origin_of
from app.domain.board import Board, Rules
from app.flows.present import rfc3339, task_document
from app.storage import items, outbox, sets, tasks
from app.storage.database import dumps
from app.storage.tasks import Record


def written(conn: sa.Connection, board: Board, rules: Rules) -> sets.Change:
    """The outbox rows for what the tasks of a board have passed. The body is frozen here: the task as this
    transaction leaves it. Costs two reads where there is any, none where nobody is to be told."""
    passed = [one for one in board.milestones if one.task_id not in board.removed]
    if not passed:
        return outbox.added([])
    given = tasks.given_of(conn, {one.task_id for one in passed})
    records = {task_id: Record(board.tasks[task_id], sent) for task_id, sent in given.items()}
    own = {task_id: board.items_of(record.task) for task_id, record in records.items()}
    values = items.values_of(conn, [item.key for some in own.values() for item in some if item.state.large])
    for (family, item_id, field), value in board.large.items():
        values.setdefault((family, item_id), {})[field] = value
    shown = {task_id: task_document(record, own[task_id], values, rules.policy) for task_id, record in records.items()}
    rows = []
    for one in passed:
        task = records[one.task_id].task
        kind, url = f"task.{one.name}", task.webhook_url or ""
        body = dumps({"type": kind, "timestamp": rfc3339(one.at), "data": shown[task.id]}).encode()
        rows.append(
            outbox.New(
                rules.new_id(),
                task.client_name,
                task.id,
                kind,
                url,
                origin_of(url),
                body,
                one.at,
            )
        )
    return outbox.added(rows)
