"""Reading: one transaction each, no change."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from app.domain.filters import Filters
from app.errors import NotFound, VendorFailed
from app.flows.context import Context
from app.flows.fitting import page_of
from app.flows.present import Document, body_document, callback_document, documents, timeline_documents
from app.storage import inbox, items, tasks, timeline
from app.vendor.answers import Unanswered

ACCOUNT_FRESH = timedelta(seconds=60)


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


async def callback(context: Context, callback_id: UUID) -> Document:
    """One row of the inbound log. Raises ``NotFound``."""
    found = await context.db.read(inbox.find, callback_id)
    if found is None:
        raise NotFound("there is no such callback")
    # Bodies of earlier releases were stored as they came.
    return {**callback_document(found), **body_document(context.redactor.body(found.body))}


async def callback_list(
    context: Context, *, task_id: UUID | None, disposition: str | None, before_id: UUID | None, limit: int
) -> list[Document]:
    """A page of the inbound log, newest first, without the bodies."""
    found = await context.db.read(
        inbox.list_page, task_id=task_id, disposition=disposition, before_id=before_id, limit=limit
    )
    return [callback_document(one) for one in found]


@dataclass(slots=True)
class Account:
    """The vendor's account, asked for at most once a minute however many want to know it."""

    context: Context
    _known: Document | None = None
    _asked_at: Any = None
    _lock: asyncio.Lock | None = None

    async def get(self) -> Document:
        """``balance`` and whatever else the vendor tells, with ``as_of``. Raises ``VendorFailed``."""
        self._lock = self._lock or asyncio.Lock()
        async with self._lock:
            now = self.context.clock.now()
            # Asked later than now: the clock was set back since.
            if self._known is None or not timedelta() <= now - self._asked_at < ACCOUNT_FRESH:
                answer = await self.context.vendor.account()
                if isinstance(answer, Unanswered):
                    raise VendorFailed(f"the vendor did not tell its account ({answer.reason})")
                self._known, self._asked_at = {"balance": _number(answer.get("balance")), "vendor": answer}, now
            return {**self._known, "as_of": self._asked_at}


def _task(conn: sa.Connection, context: Context, task_id: UUID, client_name: str | None) -> Document | None:
    record = tasks.find(conn, task_id, client_name)
    return documents(conn, [record], context.policy, context.clock.now())[0] if record else None


def _some(conn: sa.Connection, context: Context, task_ids: tuple[UUID, ...]) -> list[Document]:
    return documents(conn, tasks.find_many(conn, task_ids), context.policy, context.clock.now())


def _list(conn: sa.Connection, context: Context, filters: Filters, limit: int) -> tuple[list[Document], bool]:
    records = tasks.list_page(conn, filters, limit + 1)
    now = context.clock.now()
    page = page_of(records[:limit], lambda part: documents(conn, part, context.policy, now))
    return page, len(records) > len(page)


def _timeline(
    conn: sa.Connection, task_id: UUID, client_name: str | None, after_seq: int, limit: int
) -> tuple[list[Document], int | None] | None:
    if tasks.find(conn, task_id, client_name) is None:
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


def _number(value: Any) -> float | None:
    """What the vendor says where a number belongs; anything else stands in ``vendor`` alone."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
