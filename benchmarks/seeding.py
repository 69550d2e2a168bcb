"""Tasks put into a database in bulk, as if they had been submitted: one of each sort is made by the gateway's own
stories, and then copied with ids and times of its own."""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.database import tables
from app.gateway import Gateway, build
from app.rules.client import Client
from app.rules.observation import NamedBy, Observation, Reading, Source
from app.rules.submission import Claimed, WasAccepted
from app.rules.times import to_us
from app.rules.transition import Change
from app.settings import Settings
from app.submissions.accept_task import NewTask, accept
from app.tasks import item_rows
from app.tasks.apply import apply
from benchmarks import bulk_insert
from benchmarks.bodies import FAMILY, SECRET, Batch, SongTask, events_of, song_tasks
from benchmarks.load import HOST
from benchmarks.plain_tables import Item as PlainItem
from benchmarks.plain_tables import Task as PlainTask

KEY: Final = "benchmark-admin-key-0123456789abcdef012345"
PARAMS: Final = {"prompt": "slow pop ballad, piano", "model": "tempolor-latest"}
CLIENT: Final = "studio"
REFERENCE: Final = "order-17"
WEBHOOK_URL: Final = "http://127.0.0.1:9/hooks"


def make_settings(url: str, **given: Any) -> Settings:
    """Settings of a gateway that is measured."""
    values: dict[str, Any] = {
        "database_url": url,
        "public_url": "http://127.0.0.1:9",
        "callback_secrets": SECRET,
        "tempolor_api_key": "Tempo-benchmark-0123456789abcdef0123456789",
        "tempolor_base_url": "http://127.0.0.1:9",
        "bootstrap_admin_key": KEY,
        "log_level": "warning",
        "drain_s": 0.1,
    }
    return Settings(_env_file=None, **(values | given))


def notifies(url: str) -> bool:
    """Whether the gateway writes notifications for a task with a webhook: then the plain way has to as well.
    ``url``: an empty database at head."""
    make_pattern(url, "ended", webhook_url=WEBHOOK_URL)
    return any(
        bulk_insert.fetch(url, f'SELECT 1 FROM "{name}"')[1] for name in _OUTBOXES & tables.metadata.tables.keys()
    )


_OUTBOXES: Final = {"notifications", "outbox"}


def seed_running(url: str, batch: Batch, webhook_url: str | None) -> None:
    """Put the tasks of a batch into a gateway's database: accepted, their items named and waiting."""
    wanted = song_tasks(batch)
    for count, of_count in itertools.groupby(sorted(wanted, key=lambda one: len(one.item_ids)), _item_count):
        pattern = make_pattern(url, "running", count, webhook_url)
        pattern.copy((Copy(one.id, one.item_ids) for one in of_count), durable=True)


def _item_count(task: SongTask) -> int:
    return len(task.item_ids)


def seed_plain(url: str, batch: Batch, webhook_url: str | None) -> None:
    """Put the tasks of a batch into the plain way's database."""
    now = datetime.now(UTC)
    given = {
        "kind": "song.generate",
        "family": FAMILY,
        "client_name": CLIENT,
        "reference": REFERENCE,
        "webhook_url": webhook_url,
        "params": msgspec.json.encode(PARAMS).decode(),
        "status": "running",
        "version": 2,
        "created_at": now,
        "updated_at": now,
        "submitted_at": now,
        "deadline_at": now + timedelta(hours=1),
        "timeline_seq": 3,
    }
    named = {
        "family": FAMILY,
        "status": "waiting",
        "audio_hi_status": "waiting",
        "lyrics_sections_status": "waiting",
        "vendor": "{}",
        "query_due_at": now + timedelta(seconds=240),
    }
    wanted = song_tasks(batch)
    _insert_plain(url, PlainTask.__table__, [given | {"id": one.id} for one in wanted])
    rows = [
        named | {"item_id": item_id, "task_id": one.id, "position": position}
        for one in wanted
        for position, item_id in enumerate(one.item_ids)
    ]
    _insert_plain(url, PlainItem.__table__, rows)


def _insert_plain(url: str, table: Any, rows: Sequence[dict[str, Any]]) -> None:
    names = list(rows[0])
    text = {name for name in names if isinstance(table.c[name].type, sa.JSON)}
    values = (
        tuple(row[name] if name in text else bulk_insert.to_driver(url, table.c[name], row[name]) for name in names)
        for row in rows
    )
    bulk_insert.insert(url, table.name, names, values)


@dataclass(frozen=True, slots=True)
class Copy:
    """A task to be made after a pattern. ``changes``: columns of the task or its items with other values."""

    id: UUID
    item_ids: tuple[str, ...]
    changes: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Pattern:
    """A stored task with its rows of every table that belongs to a task or an item, as the driver gives them."""

    url: str
    task_id: UUID
    item_ids: tuple[str, ...]
    rows: dict[str, tuple[list[str], list[bulk_insert.Row]]]

    def copy(self, copies: Iterable[Copy], *, durable: bool = False) -> None:
        """Insert copies, table by table."""
        wanted = list(copies)
        for name, (columns, found) in self.rows.items():
            if found:
                bulk_insert.insert(self.url, name, columns, self._rows(name, columns, found, wanted), durable=durable)

    def _rows(
        self, name: str, columns: list[str], found: list[bulk_insert.Row], copies: list[Copy]
    ) -> Iterator[bulk_insert.Row]:
        table = tables.metadata.tables[name]
        by_name = {column.name: column for column in table.columns}
        task_at = columns.index("id" if name == "tasks" else "task_id") if name == "tasks" or _has(table) else None
        item_at = columns.index("item_id") if "item_id" in columns else None
        order = {item_id: position for position, item_id in enumerate(self.item_ids)}
        # Ids are most of what is converted, and all alike.
        convert = _converter(self.url, by_name[columns[task_at]]) if task_at is not None else None
        for one in copies:
            task_id = convert(one.id) if convert else None
            changes = [(columns.index(key), key, value) for key, value in (one.changes or {}).items() if key in columns]
            for row in found:
                values = list(row)
                if task_at is not None:
                    values[task_at] = task_id
                if item_at is not None:
                    values[item_at] = one.item_ids[order[row[item_at]]]
                for at, key, value in changes:
                    values[at] = bulk_insert.to_driver(self.url, by_name[key], value)
                yield tuple(values)


def _converter(url: str, column: sa.Column[Any]) -> Callable[[Any], Any]:
    sample = bulk_insert.to_driver(url, column, UUID(int=1))
    return (
        (lambda value: value.hex)
        if isinstance(sample, str)
        else lambda value: bulk_insert.to_driver(url, column, value)
    )


def _has(table: sa.Table) -> bool:
    return "task_id" in {column.name for column in table.columns}


def make_pattern(url: str, stage: str, count: int = 1, webhook_url: str | None = None) -> Pattern:
    """Make one task as the gateway does, and read it back as it is stored.

    ``stage``: ``queued``; ``running`` (accepted, its items named); ``ended`` (all callbacks came); ``external``
    (named by a callback under an unbound token)."""
    rng = random.Random(time.time_ns())
    item_ids = tuple(f"pattern_{rng.getrandbits(64):x}" for _ in range(count))

    async def make() -> UUID:
        gateway = build(make_settings(url), workers=False)
        try:
            if stage in _BY_CALLBACKS:
                await gateway.start()
            return await _make(gateway, item_ids, stage, webhook_url)
        finally:
            await gateway.stop()

    task_id = asyncio.run(make())
    return Pattern(url, task_id, item_ids, _read(url, task_id, item_ids))


_BY_CALLBACKS: Final = ("ended", "external")
"""Stages that need the writers of callbacks; the database then belongs to nobody else yet."""


async def _make(gateway: Gateway, item_ids: tuple[str, ...], stage: str, webhook_url: str | None) -> UUID:
    context, now = gateway.context, gateway.context.clock.now()
    if stage == "external":
        await take_callbacks(gateway, [(None, _bodies_of(item_ids[0])[0])])
        return await context.db.read(_owner, item_ids[0])
    new = NewTask("song.generate", PARAMS, {"order": 17}, REFERENCE, webhook_url)
    (task_id,) = (await accept(context, Client(CLIENT, False, now, None), [new])).task_ids
    if stage == "queued":
        return task_id
    submit_id = context.ids()
    named = tuple(
        Observation(FAMILY, Reading(item_id), Source.SUBMIT, to_us(now), NamedBy.SUBMIT_ANSWER, sighted=False)
        for item_id in item_ids
    )
    changes = [
        Change(now, "submitting", task_id, event=Claimed(submit_id)),
        Change(now, "submitted", task_id, observations=named, event=WasAccepted()),
    ]
    await context.db.write(apply, changes, context.rules)
    if stage == "ended":
        for item_id in item_ids:
            for body in _bodies_of(item_id):
                await take_callbacks(gateway, [(task_id, body)])
    return task_id


async def take_callbacks(gateway: Gateway, given: Sequence[tuple[UUID | None, bytes]]) -> None:
    """Have callbacks (task of the token, body) stored and applied at once, as the endpoint does; the gateway must
    have been started."""
    intake, tokens = gateway.intake, gateway.context.tokens
    addresses = [tokens.verify(FAMILY, tokens.sign(FAMILY, task_id)) for task_id, _ in given]
    await asyncio.gather(
        *(intake.receive(to, body, HOST) for to, (_, body) in zip(addresses, given, strict=True) if to is not None)
    )


def _bodies_of(item_id: str) -> list[bytes]:
    """All callbacks of one song, in order."""
    return [msgspec.json.encode({"songs": [shown]}) for shown in events_of(item_id, random.Random(item_id))]


def _owner(conn: sa.Connection, item_id: str) -> UUID:
    (owner,) = item_rows.find_owners(conn, item_id)
    return owner


def _read(url: str, task_id: UUID, item_ids: tuple[str, ...]) -> dict[str, tuple[list[str], list[bulk_insert.Row]]]:
    rows = {}
    for table in tables.metadata.sorted_tables:
        names = {column.name: column for column in table.columns}
        # What has an id of its own (the logs in and out) is not a part of the task.
        keys = {column.name for column in table.primary_key}
        column: sa.Column[Any]
        wanted: list[Any]
        if table is tables.tasks:
            column, wanted = table.c.id, [task_id]
        elif "task_id" in names and keys & {"task_id", "item_id"}:
            column, wanted = names["task_id"], [task_id]
        elif "item_id" in keys:
            column, wanted = names["item_id"], list(item_ids)
        else:
            continue
        given = ", ".join(f"'{bulk_insert.to_driver(url, column, one)}'" for one in wanted)
        rows[table.name] = bulk_insert.fetch(url, f'SELECT * FROM "{table.name}" WHERE "{column.name}" IN ({given})')
    return rows
