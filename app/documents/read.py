"""Read tasks and timelines as documents, each in one read transaction."""

from uuid import UUID

import sqlalchemy as sa

from app.app_context import Context
from app.documents.document import Document, documents, page_of, timeline_documents
from app.errors import NotFound
from app.tasks import item_rows, task_rows, timeline
from app.tasks.task_rows import TaskFilters


async def task(context: Context, task_id: UUID, client_name: str | None) -> Document:
    """Read a task, if it is this client's (None: for an admin). Raises ``NotFound``."""
    document = await context.db.read(_task, context, task_id, client_name)
    if document is None:
        raise NotFound("there is no such task")
    return document


async def task_mark(context: Context, task_id: UUID, client_name: str | None) -> tuple[int, int]:
    """Read what moves whenever something happens to a task, if it is this client's (None: anybody's): its version, and
    the number of its latest entry in the timeline. Raises ``NotFound``."""
    mark = await context.db.read(task_rows.mark_of, task_id, client_name)
    if mark is None:
        raise NotFound("there is no such task")
    return mark


async def tasks_by_id(context: Context, task_ids: tuple[UUID, ...]) -> list[Document]:
    """Read tasks by their ids, in that order."""
    return await context.db.read(lambda conn: documents(conn, task_rows.find_many(conn, task_ids), context))


async def task_list(
    context: Context, filters: TaskFilters, limit: int, *, summary: bool = False
) -> tuple[list[Document], bool]:
    """Read a page of tasks, newest first: ``limit`` at most, or as many as fit; and whether there are more.
    ``summary``: without lyrics and ``vendor``."""
    return await context.db.read(_list, context, filters, limit, summary)


async def task_timeline(
    context: Context, task_id: UUID, client_name: str | None, after_seq: int, limit: int
) -> tuple[list[Document], int | None]:
    """Read a task's timeline after a ``seq``, ``limit`` of them at most, and the ``seq`` after which there is more,
    if there is. Raises ``NotFound``."""
    page = await context.db.read(_timeline, task_id, client_name, after_seq, limit)
    if page is None:
        raise NotFound("there is no such task")
    return page


async def item(context: Context, item_id: str, client_name: str | None) -> Document:
    """Read the task that holds an item. Raises ``NotFound``."""
    return (await tasks_of_item(context, item_id, client_name))[0]


async def tasks_of_item(context: Context, item_id: str, client_name: str | None) -> list[Document]:
    """Read the tasks that hold an item of this id, of which each family may have one. Raises ``NotFound``."""
    found = await context.db.read(_tasks_of_item, context, item_id, client_name)
    if not found:
        raise NotFound("there is no such item")
    return found


def _task(conn: sa.Connection, context: Context, task_id: UUID, client_name: str | None) -> Document | None:
    record = task_rows.find(conn, task_id, client_name)
    return documents(conn, [record], context)[0] if record else None


def _list(
    conn: sa.Connection, context: Context, filters: TaskFilters, limit: int, summary: bool
) -> tuple[list[Document], bool]:
    records = task_rows.list_page(conn, filters, limit + 1)
    page = page_of(records[:limit], lambda part: documents(conn, part, context, summary=summary))
    return page, len(records) > len(page)


def _timeline(
    conn: sa.Connection, task_id: UUID, client_name: str | None, after_seq: int, limit: int
) -> tuple[list[Document], int | None] | None:
    if task_rows.find(conn, task_id, client_name) is None:
        return None
    entries = timeline.of_task(conn, task_id, after_seq, limit=limit + 1)
    last_seq = entries[limit - 1].seq if len(entries) > limit else None
    return timeline_documents(entries[:limit]), last_seq


def _tasks_of_item(conn: sa.Connection, context: Context, item_id: str, client_name: str | None) -> list[Document]:
    found = (_task(conn, context, task_id, client_name) for task_id in item_rows.find_owners(conn, item_id))
    return [document for document in found if document is not None]
