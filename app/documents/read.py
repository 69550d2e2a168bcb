"""Reading: one transaction each, no change."""

from uuid import UUID

import sqlalchemy as sa

from app.context import Context
from app.documents.document import Document, documents, page_of, timeline_documents
from app.errors import NotFound
from app.rules.filters import Filters
from app.tasks import items, task_rows, timeline


async def task(context: Context, task_id: UUID, client_name: str | None) -> Document:
    """One task, if it is this client's (None: an admin asks). Raises ``NotFound``."""
    found = await context.db.read(_task, context, task_id, client_name)
    if found is None:
        raise NotFound("there is no such task")
    return found


async def some_tasks(context: Context, task_ids: tuple[UUID, ...]) -> list[Document]:
    """Tasks by their ids, in that order."""
    return await context.db.read(_some, context, task_ids)


async def task_list(context: Context, filters: Filters, limit: int) -> tuple[list[Document], bool]:
    """A page of tasks, newest first: ``limit`` at most, or as many as fit; and whether there are more."""
    return await context.db.read(_list, context, filters, limit)


async def task_timeline(
    context: Context, task_id: UUID, client_name: str | None, after_seq: int, limit: int
) -> tuple[list[Document], int | None]:
    """What happened to a task after a ``seq``, ``limit`` of them at most, and the ``seq`` after which there is more,
    if there is. Raises ``NotFound``."""
    found = await context.db.read(_timeline, task_id, client_name, after_seq, limit)
    if found is None:
        raise NotFound("there is no such task")
    return found


async def item(context: Context, item_id: str, client_name: str | None) -> Document:
    """The task that holds an item. Raises ``NotFound``."""
    found = await context.db.read(_item, context, item_id, client_name)
    if found is None:
        raise NotFound("there is no such item")
    return found


def _task(conn: sa.Connection, context: Context, task_id: UUID, client_name: str | None) -> Document | None:
    record = task_rows.find(conn, task_id, client_name)
    return documents(conn, [record], context.policy, context.clock.now())[0] if record else None


def _some(conn: sa.Connection, context: Context, task_ids: tuple[UUID, ...]) -> list[Document]:
    return documents(conn, task_rows.find_many(conn, task_ids), context.policy, context.clock.now())


def _list(conn: sa.Connection, context: Context, filters: Filters, limit: int) -> tuple[list[Document], bool]:
    records = task_rows.list_page(conn, filters, limit + 1)
    now = context.clock.now()
    page = page_of(records[:limit], lambda part: documents(conn, part, context.policy, now))
    return page, len(records) > len(page)


def _timeline(
    conn: sa.Connection, task_id: UUID, client_name: str | None, after_seq: int, limit: int
) -> tuple[list[Document], int | None] | None:
    if task_rows.find(conn, task_id, client_name) is None:
        return None
    found = timeline.of_task(conn, task_id, after_seq, limit=limit + 1)
    last_seq = found[limit - 1].seq if len(found) > limit else None
    return timeline_documents(found[:limit]), last_seq


def _item(conn: sa.Connection, context: Context, item_id: str, client_name: str | None) -> Document | None:
    for task_id in items.find_owners(conn, item_id):
        found = _task(conn, context, task_id, client_name)
        if found is not None:
            return found
    return None
