"""Load and save the rows of the state under optimistic locking: they are saved unless somebody else has changed them
since.

The version is the one that PostgreSQL itself gives each row (``xmin``): what is loaded is not locked, and is saved only
if the rows still have the versions that were loaded. ``load`` and ``save`` are one statement each,
and so one round trip each, for any number of tasks. ``save`` needs no transaction around it.

SQLite has one writer: inside its transaction nobody else changes anything, so that all is always saved.

The two databases stand side by side here. Many rows travel to PostgreSQL as one JSON text, which it reads as a table,
with an array beside it for each column of JSON or bytes; to SQLite they go one by one, to a prepared statement.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.database import dialect
from app.database.database import StaleRead, dumps, loads
from app.database.faults import violated_constraint
from app.database.tables import callbacks, items, tasks
from app.rules.join import ItemState
from app.rules.observation import Disposition, ItemKey
from app.rules.status import ItemStatus, TaskStatus
from app.rules.task import Copy, Failure, Item, Submission, Task
from app.tasks.writes import FACTS, ITEM_COLUMNS, WRITES, Row, Write


class Receipt(msgspec.Struct, frozen=True):
    """What the inbound log holds of a callback that is known: when its first copy came, and its disposition.
    ``hex_digest``: as PostgreSQL writes bytes in JSON."""

    hex_digest: str = msgspec.field(name="digest")
    received_at: datetime
    disposition: Disposition

    @property
    def digest(self) -> bytes:
        return bytes.fromhex(self.hex_digest.removeprefix("\\x"))


class Rows(msgspec.Struct):
    """Rows as a statement saw them: tasks by id, their items in the order in which they were named, the callbacks
    that are known. ``…_revisions``: their versions, in the same order; empty texts on SQLite."""

    tasks: list[Task]
    items: list[Item]
    receipts: list[Receipt]
    task_revisions: list[str] = []
    item_revisions: list[str] = []


class Part(msgspec.Struct):
    """What is saved together or not at all: the rows to write, and the versions that they were made of.
    ``needs_transaction``: something has to be deleted too, in further statements."""

    rows: dict[Write, Sequence[Row]]
    task_revisions: Mapping[UUID, str] = {}
    item_revisions: Mapping[ItemKey, str] = {}
    needs_transaction: bool = False


# --- load

_NAMED: Final = """
    SELECT unnest($1::uuid[]) AS id
    UNION
    SELECT task_id FROM unnest($2::text[], $3::text[]) AS key (family, item_id) JOIN items USING (family, item_id)
"""
_LOAD: Final = f"""WITH named AS ({_NAMED}),
found_tasks AS (
    SELECT {", ".join(FACTS)}, xmin::text AS revision FROM tasks WHERE id IN (SELECT id FROM named)
),
found_items AS (
    SELECT {", ".join(ITEM_COLUMNS)}, xmin::text AS revision FROM items
    WHERE task_id IN (SELECT id FROM found_tasks)
),
known AS (
    SELECT digest, received_at, disposition FROM callbacks WHERE digest = ANY ($4::bytea[])
)
SELECT json_build_object(
    'tasks', (SELECT coalesce(json_agg(found_tasks ORDER BY id), '[]') FROM found_tasks),
    'task_revisions', (SELECT coalesce(json_agg(revision ORDER BY id), '[]') FROM found_tasks),
    'items', (SELECT coalesce(json_agg(found_items ORDER BY task_id, position, item_id), '[]') FROM found_items),
    'item_revisions',
        (SELECT coalesce(json_agg(revision ORDER BY task_id, position, item_id), '[]') FROM found_items),
    'receipts', (SELECT coalesce(json_agg(known), '[]') FROM known)
)::text
"""
_LOCK: Final = f"""WITH named AS ({_NAMED}),
held_tasks AS (SELECT id FROM tasks WHERE id IN (SELECT id FROM named) ORDER BY id FOR NO KEY UPDATE)
SELECT 1 FROM items WHERE task_id IN (SELECT id FROM held_tasks) ORDER BY family, item_id FOR NO KEY UPDATE
"""
_SQLITE_TASKS: Final = f"""
SELECT {", ".join(FACTS)} FROM tasks WHERE id IN (
    SELECT value FROM json_each(?)
    UNION
    SELECT task_id FROM json_each(?) AS key CROSS JOIN items
    ON family = json_extract(key.value, '$[0]') AND item_id = json_extract(key.value, '$[1]')
) ORDER BY id
"""
_SQLITE_ITEMS: Final = f"""
SELECT {", ".join(ITEM_COLUMNS)} FROM items WHERE task_id IN (SELECT value FROM json_each(?))
ORDER BY task_id, position, item_id
"""
_SQLITE_KNOWN: Final = "SELECT digest, received_at, disposition FROM callbacks WHERE digest = ?"
_ITEMS: Final = f"""
SELECT coalesce(json_agg(found_items ORDER BY task_id, position, item_id), '[]')::text
FROM (SELECT {", ".join(ITEM_COLUMNS)} FROM items WHERE task_id = ANY ($1::uuid[])) AS found_items
"""
_decode: Final = msgspec.json.Decoder(Rows).decode
_decode_items: Final = msgspec.json.Decoder(list[Item]).decode
_decode_state: Final = msgspec.json.Decoder(ItemState).decode
_TASK_COLUMNS: Final = tuple(tasks.c[name] for name in FACTS)
_ITEM_COLUMNS: Final = tuple(items.c[name] for name in ITEM_COLUMNS)
_COPIES: Final = ITEM_COLUMNS.index("copies")
_decode_copies: Final = msgspec.json.Decoder(dict[str, Copy]).decode
_EVENTS: Final = FACTS.index("webhook_events")
_KNOWN_COLUMNS: Final = (callbacks.c.digest, callbacks.c.received_at, callbacks.c.disposition)


def load(
    conn: sa.Connection,
    task_ids: Collection[UUID],
    item_keys: Collection[ItemKey] = (),
    digests: Collection[bytes] = (),
) -> Rows:
    """The tasks of these ids and those that own these items, with all their items, and which of the callbacks with
    these digests are known; as they are now, without locks."""
    if not task_ids and not item_keys and not digests:
        return Rows([], [], [])
    if dialect.is_postgresql(conn):
        [[text]] = dialect.fetch_on_postgresql(conn, _LOAD, (*_names(task_ids, item_keys), list(digests)))
        return _decode(text)
    named = (dumps([task_id.hex for task_id in task_ids]), dumps(list(item_keys)))
    loaded_tasks = [_task(row) for row in dialect.fetch_on_sqlite(conn, _SQLITE_TASKS, named, _TASK_COLUMNS)]
    their_items = items_of(conn, [task.id for task in loaded_tasks])
    receipts = [
        Receipt(row[0].hex(), row[1], Disposition(row[2]))
        for digest in digests
        for row in dialect.fetch_on_sqlite(conn, _SQLITE_KNOWN, (digest,), _KNOWN_COLUMNS)
    ]
    return Rows(loaded_tasks, their_items, receipts, [""] * len(loaded_tasks), [""] * len(their_items))


def items_of(conn: sa.Connection, task_ids: Collection[UUID]) -> list[Item]:
    """Read all items of some tasks, by task, in the order in which they were named."""
    if not task_ids:
        return []
    if dialect.is_postgresql(conn):
        [[text]] = dialect.fetch_on_postgresql(conn, _ITEMS, (list(task_ids),))
        return _decode_items(text)
    own = (dumps([task_id.hex for task_id in task_ids]),)
    return [_item(row) for row in dialect.fetch_on_sqlite(conn, _SQLITE_ITEMS, own, _ITEM_COLUMNS)]


def lock(conn: sa.Connection, task_ids: Collection[UUID], item_keys: Collection[ItemKey] = ()) -> None:
    """Lock the tasks of these ids and those that own these items, and then their items, each in the order of their
    keys; waits for those that another transaction holds, up to the lock time-out. What this statement sees may be
    older than its locks: load in another one. SQLite's one writer holds everything."""
    if dialect.is_postgresql(conn) and (task_ids or item_keys):
        dialect.fetch_on_postgresql(conn, _LOCK, _names(task_ids, item_keys))


def _names(task_ids: Collection[UUID], item_keys: Collection[ItemKey]) -> tuple[list[Any], list[str], list[str]]:
    return list(task_ids), [family for family, _ in item_keys], [item_id for _, item_id in item_keys]


def task_of(facts: Row, failure: dict[str, Any] | None) -> Task:
    """Make a task of the values of its facts; ``failure`` as JSON has it."""
    task = Task(*facts)
    task.submission = Submission(task.submission)
    task.status = TaskStatus(task.status)
    task.failure = Failure(**failure) if failure else None
    return task


def _task(row: Row) -> Task:
    failure = row[FACTS.index("failure")]
    task = task_of(row, loads(failure) if failure else None)
    if row[_EVENTS] is not None:
        task.webhook_events = loads(row[_EVENTS])
    return task


def _item(row: Row) -> Item:
    item = Item(*row)
    item.status = ItemStatus(item.status)
    item.state = _decode_state(row[ITEM_COLUMNS.index("state")])
    if row[_COPIES] is not None:
        item.copies = _decode_copies(row[_COPIES])
    return item


# --- save


def _types(write: Write) -> str:
    """The columns of the JSON text, with their types."""
    columns = (write.table_columns[place] for place in write.in_json)
    return ", ".join(["place int", "part int", *(f"{column.name} {dialect.json_type(column)}" for column in columns)])


def _values(write: Write, first: int) -> list[str]:
    """Each column's value, from the JSON text or from its array."""
    values = [f"new.{name}" for name in write.names]
    for number, place in enumerate(write.apart, start=first + 1):
        is_json = isinstance(write.table_columns[place].type, sa.JSON)
        values[place] = f"(${number}::text[])[new.place]::json" if is_json else f"(${number}::bytea[])[new.place]"
    return values


_IS_HELD: Final = "new.part = ANY (ARRAY(SELECT part FROM held))"


def _written(write: Write, first: int) -> str:
    """The statement that writes rows of the parts that are held, from the parameter ``first`` on. Rows are inserted in
    the order in which they are given: whatever way the planner takes, two processes must meet at the same row first."""
    new = f"json_to_recordset(${first}::json) AS new ({_types(write)})"
    values = _values(write, first)
    if not write.keys:
        conflict = f"ON CONFLICT {write.on_conflict}" if write.on_conflict else ""
        return (
            f"INSERT INTO {write.table.name} ({', '.join(write.names)}) SELECT {', '.join(values)} FROM {new}"
            f" WHERE {_IS_HELD} ORDER BY new.place {conflict}"
        )
    pairs = list(zip(write.names, values, strict=True))
    changes = write.changes(dict(pairs))
    same = " AND ".join(f"{write.table.name}.{name} = {value}" for name, value in pairs if name in write.keys)
    return f"UPDATE {write.table.name} SET {changes} FROM {new} WHERE {same} AND {_IS_HELD}"


_HELD: Final = """WITH held_tasks AS (
    SELECT seen.part FROM tasks
    JOIN json_to_recordset($1::json) AS seen (part int, id uuid, revision text) ON tasks.id = seen.id
    WHERE tasks.xmin::text = seen.revision
    ORDER BY tasks.id FOR NO KEY UPDATE OF tasks SKIP LOCKED
),
held_items AS (
    SELECT seen.part FROM items
    JOIN json_to_recordset($2::json) AS seen (part int, family text, item_id text, revision text)
        ON items.family = seen.family AND items.item_id = seen.item_id
    WHERE items.xmin::text = seen.revision
    ORDER BY items.family, items.item_id FOR NO KEY UPDATE OF items SKIP LOCKED
),
rows_held AS (
    SELECT part, count(*) AS rows FROM (SELECT part FROM held_tasks UNION ALL SELECT part FROM held_items) AS each
    GROUP BY part
),
held AS (
    SELECT wanted.part FROM unnest($3::int[], $4::int[]) AS wanted (part, rows) LEFT JOIN rows_held USING (part)
    WHERE coalesce(rows_held.rows, 0) = wanted.rows
)"""


@cache
def _text(chosen: tuple[Write, ...]) -> str:
    """The one statement that saves: it locks the rows that are as they were loaded, and writes for each part of which
    it got them all."""
    first, parts = 5, [_HELD]
    for place, write in enumerate(chosen):
        parts.append(f"written_{place} AS ({_written(write, first)})")
        first += 1 + len(write.apart)
    return ",\n".join(parts) + "\nSELECT coalesce(array_agg(part), '{}') FROM held"


def rehearse(conn: sa.Connection) -> None:
    """Prepare the two statements of an everyday group of callbacks on this connection, on PostgreSQL: load nothing,
    save nothing. That takes longer than to carry them out."""
    if dialect.is_postgresql(conn):
        dialect.fetch_on_postgresql(conn, _LOAD, ([], [], [], []))
        _save_on_postgresql(conn, [])


def save(conn: sa.Connection, parts: Sequence[Part]) -> list[bool]:
    """Write each part of which no row has been changed since it was loaded, and is held by nobody; returns which were
    written. Raises ``StaleRead``, and then nothing is written, if somebody else has named an item that is new here."""
    if not any(part.item_revisions or part.task_revisions or any(part.rows.values()) for part in parts):
        return [True] * len(parts)  # nothing was loaded, and there is nothing to write
    if not dialect.is_postgresql(conn):
        for write in WRITES:
            rows = [row for part in parts for row in part.rows.get(write, ())]
            if rows:
                sql, columns, places = _sqlite_statement(write)
                dialect.write_on_sqlite(conn, sql, columns, [tuple(row[place] for place in places) for row in rows])
        return [True] * len(parts)
    try:
        return _save_on_postgresql(conn, parts)
    except sa.exc.IntegrityError as error:
        if violated_constraint(error) != items.primary_key.name:
            raise
        raise StaleRead from error


def _save_on_postgresql(conn: sa.Connection, parts: Sequence[Part]) -> list[bool]:
    chosen = tuple(write for write in WRITES if not write.rare or any(part.rows.get(write) for part in parts))
    seen_tasks = [
        {"part": number, "id": task_id, "revision": revision}
        for number, part in enumerate(parts)
        for task_id, revision in part.task_revisions.items()
    ]
    seen_items = [
        {"part": number, "family": key[0], "item_id": key[1], "revision": revision}
        for number, part in enumerate(parts)
        for key, revision in part.item_revisions.items()
    ]
    counts = [len(part.task_revisions) + len(part.item_revisions) for part in parts]
    values: list[Any] = [dumps(seen_tasks), dumps(seen_items), list(range(len(parts))), counts]
    for write in chosen:
        values += _parameters(write, parts)
    [[held]] = dialect.fetch_on_postgresql(conn, _text(chosen), tuple(values))
    return [number in held for number in range(len(parts))]


def _parameters(write: Write, parts: Sequence[Part]) -> list[Any]:
    """The JSON text of the rows, and the arrays beside it."""
    rows = [(row, number) for number, part in enumerate(parts) for row in part.rows.get(write, ())]
    if write.sorted_by:
        rows.sort(key=lambda each: write.order(each[0]))
    pick = itemgetter(*write.in_json)
    in_json = [write.json_row(place, number, *pick(row)) for place, (row, number) in enumerate(rows, start=1)]
    parameters: list[Any] = [dumps(in_json)]
    for place in write.apart:
        is_json = isinstance(write.table_columns[place].type, sa.JSON)
        values = [row[place] for row, _ in rows]
        parameters.append([value if value is None else dumps(value) for value in values] if is_json else values)
    return parameters


@cache
def _sqlite_statement(write: Write) -> tuple[str, tuple[sa.Column[Any], ...], list[int]]:
    """The statement that writes one row, with the columns of its placeholders and their places in the row."""
    names, table = write.names, write.table.name
    if write.keys:
        ordered = [name for name in names if name not in write.keys] + list(write.keys)
        changes = write.changes(dict.fromkeys(ordered, "?"))
        sql = f"UPDATE {table} SET {changes} WHERE {' AND '.join(f'{name} = ?' for name in write.keys)}"
    else:
        ordered = names
        conflict = f"ON CONFLICT {write.on_conflict}" if write.on_conflict else ""
        sql = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) {conflict}"
    places = [names.index(name) for name in ordered]
    return sql, tuple(write.table_columns[place] for place in places), places
