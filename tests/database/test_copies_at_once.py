"""Copies of a task's files that several changes of one unit of work plan: one of each file."""

from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from app.archive import rows
from app.archive.copy import LEASE, PER_TASK
from app.callbacks.commit import Callback, commit, digest_of
from app.reconcile.ask import apply_answer
from app.rules.observation import Observation, Source
from app.rules.times import to_us
from app.tempolor import item_readings
from app.tempolor.kinds import SONG
from tests.stories.archive.conftest import directory
from tests.support.direct_sql import Direct
from tests.support.gateway import Running
from tests.support.song_callbacks import done, song
from tests.support.start_fixtures import StartGateway

__all__ = ["directory"]

ITEMS = ("t2m_1", "t2m_2")
BOTH_FILES = [(item_id, name) for item_id in ITEMS for name in ("audio", "audio_hi")]


@pytest.fixture
async def gateway(start_gateway: StartGateway, directory: Path) -> Running:
    return await start_gateway(workers=False, archive_url=f"file://{directory}")


async def test_an_answer_about_two_items_of_a_task_is_applied(gateway: Running, db: Direct) -> None:
    task = await gateway.submit()
    listed = [{"item_id": item_id, "status": "running"} for item_id in ITEMS]
    assert (await gateway.call_back("song", {"songs": listed}, UUID(task["id"]))).text == "success"
    context = gateway.gateway.context
    now = context.clock.now()
    readings = item_readings.read_items([done(item_id)["songs"][0] for item_id in ITEMS], SONG).readings
    observations = [Observation("song", reading, Source.QUERY, to_us(now)) for reading in readings]
    effects = await context.db.write(apply_answer, context, observations, now, skip_locked=True)
    assert None not in effects.results
    assert (await gateway.task(task["id"]))["status"] == "succeeded"
    assert await _jobs(db) == BOTH_FILES


async def test_callbacks_of_a_task_in_one_group_are_committed_together(gateway: Running, db: Direct) -> None:
    task_id = UUID((await gateway.submit())["id"])
    context = gateway.gateway.context
    bodies: list[dict[str, Any]] = [
        *(done(item_id) for item_id in ITEMS),
        song("t2m_1", "succeeded", audio_url="https://cdn.example/a.mp3?auth_key=2"),
    ]
    group = []
    for document in bodies:
        body = msgspec.json.encode(document)
        readings = tuple(item_readings.read_callback(body, SONG).readings)
        digest = digest_of(task_id, "song", body)
        group.append(
            Callback(context.ids(), digest, task_id, "song", body, context.clock.now(), address=None, readings=readings)
        )
    answers, _ = await context.db.write(commit, group, context.rules)
    assert [answer is not None and answer.usable for answer in answers] == [True] * len(bodies)
    assert await _jobs(db) == BOTH_FILES


async def test_a_task_that_has_its_places_leaves_the_others_to_other_tasks(gateway: Running) -> None:
    """Also where more of its files are due than are looked at."""
    large, small = UUID((await gateway.submit())["id"]), UUID((await gateway.submit())["id"])
    for number in range(6):
        assert (await gateway.call_back("song", done(f"t2m_{number}"), large)).text == "success"
    assert (await gateway.call_back("song", done("t2m_of_another"), small)).text == "success"
    context = gateway.gateway.context
    now = context.clock.now()
    jobs = await context.db.write(rows.claim, now, now + LEASE, 2, PER_TASK, [large] * PER_TASK)
    assert {job.task_id for job in jobs} == {small}
    assert len(jobs) == 2


async def _jobs(db: Direct) -> list[tuple[str, str]]:
    rows = await db.rows("SELECT item_id, name FROM copy_jobs ORDER BY item_id, name")
    return [(row["item_id"], row["name"]) for row in rows]
