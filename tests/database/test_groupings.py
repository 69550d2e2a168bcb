"""Any history of callbacks leaves one state, whatever they were committed together with, in whatever order, raced by
other groups or committed again after a conflict (G2)."""

import asyncio
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import pytest

from app.callbacks.admission import CallbackIntake
from app.callbacks.commit import Callback, digest_of
from app.rules.observation import Disposition, Reading
from app.runtime import metrics
from app.tempolor import item_readings
from app.tempolor.decoding import Malformed
from app.tempolor.kinds import FAMILIES
from tests.support.direct_sql import Direct
from tests.support.gateway import Running

TASKS: Final = 3
ITEMS: Final = 2
CALLBACKS: Final = 40
FIELDS: Final[list[dict[str, Any]]] = [
    {"status": "running", "event": "audio_chunk", "streamAudioUrl": "https://cdn.example/live.m3u8"},
    {"status": "main_succeeded", "audio_url": "https://cdn.example/a.mp3?auth_key=1", "duration": 187},
    {"status": "main_succeeded", "audio_url": "https://cdn.example/a.mp3?auth_key=2", "title": "Harbour"},
    {"status": "main_succeeded", "audio_hi_status": "sub_succeeded", "audio_hi_url": "https://cdn.example/a.wav"},
    {"status": "main_succeeded", "audio_hi_status": "sub_failed", "audio_hi_url": None},
    {"status": "main_succeeded", "lyrics_sections_status": "sub_succeeded", "title": "Lights", "lyrics": "la"},
    {"status": "part_failed", "title": "", "duration": None},
    {"status": "succeeded", "style": "Pop"},
    {"status": "failed", "err_msg": "no voice"},
    {"status": "never heard of", "mood": "calm"},
]
OF_THE_PATH: Final = ("version", "updated_at", "running_at", "playable_at", "finished_at", "warnings")
"""What tells when, or in how many steps, a state was reached, so that it depends on the order."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A callback. ``at``: seconds after the first one; of a body that comes again its first time, since of two copies
    that race the one that is stored first gives its time."""

    task: int
    body: bytes
    at: float


def history(chance: random.Random) -> list[Sent]:
    """Callbacks of several tasks in the order of their arrival: repeats, items of other tasks, what cannot be read."""
    sent: list[Sent] = []
    first: dict[tuple[int, bytes], int] = {}
    for place in range(CALLBACKS):
        kind = chance.random()
        task = chance.randrange(TASKS)
        if sent and kind < 0.2:
            sent.append(chance.choice(sent))
            continue
        owner = chance.randrange(TASKS) if kind < 0.3 else task
        items = [_item(chance, owner) for _ in range(chance.randint(1, 2))] + (
            [_item(chance, task)] if owner != task else []
        )
        body = b'{"songs": [' + b"?" * place if kind > 0.95 else msgspec.json.encode({"songs": items})
        sent.append(Sent(task, body, first.setdefault((task, body), place)))
    return sent


def _item(chance: random.Random, task: int) -> dict[str, Any]:
    return {"item_id": f"t2m_{task}_{chance.randrange(ITEMS)}"} | chance.choice(FIELDS)


async def begin(gateway: Running) -> list[UUID]:
    """Tasks whose items are known already: otherwise the first that names an item owns it, which is a matter of
    order."""
    tasks = [UUID((await gateway.submit(webhook_url="https://studio.example/hook"))["id"]) for _ in range(TASKS)]
    for number, task_id in enumerate(tasks):
        items = [{"item_id": f"t2m_{number}_{item}", "status": "waiting"} for item in range(ITEMS)]
        assert (await gateway.call_back("song", {"songs": items}, task_id)).text == "success"
    return tasks


def read(gateway: Running, task_id: UUID, one: Sent, start: datetime) -> Callback:
    context, fault = gateway.gateway.context, None
    readings: tuple[Reading, ...] = ()
    try:
        readings = tuple(item_readings.read_callback(one.body, FAMILIES["song"]).readings)
    except Malformed as error:
        fault = str(error)
    received_at = start + timedelta(seconds=one.at)
    digest = digest_of(task_id, "song", one.body)
    return Callback(context.ids(), digest, task_id, "song", one.body, received_at, None, readings, fault)


async def commit_in_groups(gateway: Running, received: list[Callback], chance: random.Random, most: int) -> None:
    """Commit callbacks in groups of up to ``most``, by all writers at the same time."""
    intake = CallbackIntake(gateway.gateway.context)
    left, answers = list(received), []
    while left:
        for writer in intake.writers:
            size = chance.randint(0 if len(intake.writers) > 1 else 1, most)
            taken, left = left[:size], left[size:]
            answers += [writer.put(one) for one in taken]
        await asyncio.gather(*(writer.step() for writer in intake.writers))
    while not all(answer.done() for answer in answers):
        # What stepped back for another group waits for its turn again.
        await asyncio.gather(*(writer.step() for writer in intake.writers))
        await asyncio.sleep(0.005)
    assert Disposition.POISONED not in {answer.result().disposition for answer in answers}


async def state(gateway: Running, db: Direct, tasks: list[UUID]) -> dict[str, Any]:
    """The tasks as everybody sees them, and the inbound log."""
    numbers = {str(task_id): number for number, task_id in enumerate(tasks)}
    shown = [await gateway.task(str(task_id)) for task_id in tasks]
    for task in shown:
        for name in ("id", "created_at", "submitted_at", "deadline_at", *OF_THE_PATH):
            task.pop(name, None)
        for item in task["items"]:
            item.pop("last_callback_at")
    log = (await gateway.api.get("/v1/callbacks", params={"limit": 200})).json()["data"]
    bodies = await db.rows("SELECT id, body, count FROM callbacks")
    by_id = {str(UUID(str(row["id"]))): row for row in bodies}
    return {
        "tasks": shown,
        "log": sorted(
            (numbers[one["task_id"]], bytes(by_id[one["id"]]["body"]), one["disposition"], by_id[one["id"]]["count"])
            for one in log
        ),
    }


async def check_notifications(gateway: Running, shown: list[dict[str, Any]], tasks: list[UUID]) -> None:
    """Which milestones a task passes is a matter of order. Each is notified once, and the last is where it ended."""
    page = (await gateway.api.get("/v1/notifications", params={"limit": 200})).json()["data"]
    for task_id, task in zip(tasks, shown, strict=True):
        # Newest first.
        types = [one["type"].removeprefix("task.") for one in page if one["task_id"] == str(task_id)]
        assert types.count("running") == 1
        assert types.count("playable") <= 1
        assert types[0] == {"main_succeeded": "playable"}.get(task["status"], task["status"])


async def play(
    gateway: Running, db: Direct, sent: list[Sent], start: datetime, chance: random.Random, most: int
) -> dict[str, Any]:
    """Have tasks anew receive a history, and forget them."""
    tasks = await begin(gateway)
    await commit_in_groups(gateway, [read(gateway, tasks[one.task], one, start) for one in sent], chance, most)
    found = await state(gateway, db, tasks)
    await check_notifications(gateway, found["tasks"], tasks)
    await db.execute(
        *(f"DELETE FROM {table}" for table in ("notifications", "callbacks", "timeline", "items", "tasks"))
    )
    return found


async def explore(gateway: Running, db: Direct, seed: int) -> None:
    """Play a history one by one, and then in groups of several sizes, in its order and in others."""
    chance = random.Random(seed)
    sent = history(chance)
    start = gateway.gateway.context.clock.now()
    one_by_one = await play(gateway, db, sent, start, chance, most=1)
    for most in (4, CALLBACKS):
        assert await play(gateway, db, sent, start, chance, most=most) == one_by_one, (seed, most)
        mixed = chance.sample(sent, len(sent))
        assert await play(gateway, db, mixed, start, chance, most=most) == one_by_one, (seed, most, mixed)


@pytest.mark.parametrize("seed", [1, 2])
async def test_any_history_leaves_one_state(gateway: Running, db: Direct, seed: int) -> None:
    await explore(gateway, db, seed)


@pytest.mark.slow
async def test_a_hundred_histories_leave_one_state_each(gateway: Running, db: Direct) -> None:
    before = redone()
    for seed in range(3, 103):
        await explore(gateway, db, seed)
    # Two groups of one task at the same time: there is no such thing with one writer.
    assert db.is_sqlite or redone() > before


def redone() -> float:
    """How many groups were committed again since somebody else was at a task of theirs."""
    [metric] = metrics.groups_redone.collect()
    return next(sample.value for sample in metric.samples if sample.name.endswith("_total"))
