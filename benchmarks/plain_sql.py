"""The plain way without an ORM: a FastAPI route, asyncpg, and a transaction of SQL by hand for each callback.

What somebody would write who finds the ORM too slow, on PostgreSQL and on the tables of ``plain``: the same work, the
same locks, and only the columns that the work needs. It is the harder one to beat.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Final
from uuid import UUID

import asyncpg
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse

from app.runtime.clock import Clock, Ids
from app.tempolor.callback_tokens import Token, Tokens
from benchmarks import plain_rules as rules
from benchmarks.bodies import SECRET
from benchmarks.plain_tables import Item
from benchmarks.serving import serve_forever

POOL_SIZE: Final = 20
ITEM_COLUMNS: Final = tuple(column.name for column in Item.__table__.columns)
TASK_COLUMNS: Final = ("id", "status", "version", "webhook_url", "playable_at", "finished_at", "timeline_seq")

_LOCK: Final = f"SELECT {', '.join(TASK_COLUMNS)} FROM tasks WHERE id = $1 FOR NO KEY UPDATE"
_LOG: Final = """
INSERT INTO callbacks (id, digest, task_id, family, body, address, received_at, last_received_at, times)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7, 1)
ON CONFLICT (digest) DO UPDATE SET times = callbacks.times + 1, last_received_at = excluded.last_received_at
RETURNING times
"""
_OWNER: Final = "SELECT task_id FROM items WHERE family = $1 AND item_id = $2"
_EXTERNAL: Final = """
INSERT INTO tasks (id, kind, family, client_name, params, status, version, created_at, updated_at, timeline_seq)
VALUES ($1, $2, $3, 'external', '{}', 'running', 0, $4, $4, 0)
"""
_ITEMS: Final = f"SELECT {', '.join(ITEM_COLUMNS)} FROM items WHERE task_id = $1 ORDER BY position"
_CHANGES: Final = ", ".join(f"{name} = excluded.{name}" for name in ITEM_COLUMNS if name not in ("family", "item_id"))
_SAVE_ITEM: Final = f"""
INSERT INTO items ({", ".join(ITEM_COLUMNS)}) VALUES ({", ".join(f"${n}" for n in range(1, len(ITEM_COLUMNS) + 1))})
ON CONFLICT (family, item_id) DO UPDATE SET {_CHANGES}
"""
_SAVE_TASK: Final = """
UPDATE tasks SET status = $2, version = $3, updated_at = $4, playable_at = $5, finished_at = $6, timeline_seq = $7
WHERE id = $1
"""
_TELL: Final = """
INSERT INTO timeline (task_id, seq, at, type, version, detail) VALUES ($1, $2, $3, 'callback', $4, $5)
"""
_NOTIFY: Final = "INSERT INTO outbox (id, task_id, type, body, due_at) VALUES ($1, $2, $3, $4, $5)"

tokens = Tokens([SECRET])
new_id = Ids(Clock().now)
app = FastAPI()
_opening = asyncio.Lock()


async def receive(conn: Any, family: str, token: Token, body: bytes, address: str | None) -> None:
    """Store and apply one callback in the caller's transaction."""
    at = datetime.now(UTC)
    task = await _lock(conn, token.task_id) if token.task_id else None
    digest = rules.digest_of(token.task_id, family, body)
    if await conn.fetchval(_LOG, new_id(), digest, token.task_id, family, body, address, at) > 1:
        return
    for shown in json.loads(body)["songs"]:
        await _apply(conn, family, task, shown, at)


async def _apply(conn: Any, family: str, task: Any, shown: dict[str, Any], at: datetime) -> None:
    if task is None:
        owner = await conn.fetchval(_OWNER, family, shown["item_id"])
        if owner is None:
            owner = new_id()
            await conn.execute(_EXTERNAL, owner, f"{family}.external", family, at)
        task = await _lock(conn, owner)
    items = [_row(one) for one in await conn.fetch(_ITEMS, task.id)]
    item = next((one for one in items if one.item_id == shown["item_id"]), None)
    if item is None:
        made = rules.new_item(family, shown["item_id"], task.id, len(items))
        item = _row({name: getattr(made, name) for name in ITEM_COLUMNS})
        items.append(item)
    changed = rules.join_item(item, shown, at)
    milestones = rules.update_task(task, items, at)
    task.timeline_seq += 1
    detail = {"item_id": item.item_id, "event": shown.get("event"), "changed": changed}
    await conn.execute(_SAVE_ITEM, *(getattr(item, name) for name in ITEM_COLUMNS))
    await conn.execute(
        *(_SAVE_TASK, task.id, task.status, task.version, at),
        *(task.playable_at, task.finished_at, task.timeline_seq),
    )
    await conn.execute(_TELL, task.id, task.timeline_seq, at, task.version, detail)
    for name in milestones if task.webhook_url else ():
        notification = rules.new_notification(new_id(), task, items, name, at)
        await conn.execute(_NOTIFY, notification.id, task.id, name, notification.body, at)


async def _lock(conn: Any, task_id: UUID) -> Any:
    return _row(await conn.fetchrow(_LOCK, task_id))


def _row(values: Mapping[str, Any]) -> Any:
    return SimpleNamespace(**values)


async def _set_up(conn: Any) -> None:
    await conn.set_type_codec("json", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


async def _pool() -> Any:
    """The connections, opened by the first request."""
    async with _opening:
        if not hasattr(app.state, "pool"):
            app.state.pool = await asyncpg.create_pool(
                os.environ["DATABASE_URL"],
                min_size=1,
                max_size=POOL_SIZE,
                init=_set_up,
                server_settings={"jit": "off"},
            )
    return app.state.pool


@app.post("/callbacks/{family}/{token}")
async def take(family: str, token: str, request: Request) -> PlainTextResponse:
    """One callback, acknowledged after its commit."""
    found = tokens.verify(family, token)
    if found is None:
        raise HTTPException(403)
    body = await request.body()
    address = request.client.host if request.client else None
    for attempt in (1, 2):
        try:
            async with (await _pool()).acquire() as conn, conn.transaction():
                await receive(conn, family, found, body, address)
            break
        except asyncpg.UniqueViolationError:
            # The same new item, twice at once: the second finds what the first has stored.
            if attempt == 2:
                raise
    return PlainTextResponse("success")


if __name__ == "__main__":
    serve_forever(app)
