"""Rows that an earlier release wrote are there after the upgrade, and read as before: each migration runs over them."""

import asyncio
import uuid
from typing import Any

import pytest
from alembic.script import ScriptDirectory

from app.database.migrate import alembic_config, migrate
from app.database.schema_revision import head
from tests.support.gateway import Running, running_gateway
from tests.support.song_callbacks import done, song

OLDEST = "0002"
"""The revision before it has no notifications, and was never released."""
ADDED_SINCE = {"submitted_model", "webhook_events"}
"""What an older schema has no column for."""


def _revisions() -> list[str]:
    """The history from its head down to the oldest revision that was released."""
    script = ScriptDirectory.from_config(alembic_config())
    return [one.revision for one in script.walk_revisions(OLDEST, "head")]


async def _fill(gateway: Running) -> None:
    """Make a task in each state that stays, with callbacks, large values and notifications."""
    hook = {"webhook_url": "https://receiver.example/hook"}
    created = await gateway.api.post("/v1/clients", json={"name": "studio"})
    assert created.status_code == 201, created.text
    ended, playable, failed, canceled = [(await gateway.submit(**hook))["id"] for _ in range(4)]
    await gateway.submit("lyrics.generate", reference="order-17", metadata={"a": [1, "ü"]})
    bodies = {
        ended: done(f"t2m_{ended}", lyrics="la " * 1500),
        playable: song(
            "t2m_2", "main_succeeded", audio_url="https://cdn.example/a.mp3?auth_key=1", mood={"odd": [None]}
        ),
        failed: song("t2m_3", "failed", err_msg="no luck"),
    }
    for task_id, body in bodies.items():
        assert (await gateway.call_back("song", body, uuid.UUID(task_id))).text == "success"
    assert (await gateway.call_back("song", b"{", uuid.UUID(playable))).status_code == 400
    assert (await gateway.call_back("song", song("t2m_9", "running"))).text == "success"
    assert (await gateway.api.post(f"/v1/tasks/{canceled}/cancel")).status_code == 200


async def _shown(gateway: Running) -> dict[str, Any]:
    """All that the API shows of it."""
    shown: dict[str, Any] = {}
    for path in ("/v1/tasks", "/v1/callbacks", "/v1/notifications", "/v1/clients"):
        answer = await gateway.api.get(path)
        assert answer.status_code == 200, answer.text
        shown[path] = answer.json()["data"]
    for task in shown["/v1/tasks"]:
        shown[task["id"]] = await gateway.timeline(task["id"])
        for name in ADDED_SINCE & task.keys():
            del task[name]
    for client in shown["/v1/clients"]:
        client["key_last_used_at"] = None
    return shown


@pytest.mark.own_database
async def test_rows_of_each_earlier_schema_are_read_by_this_release_as_they_were(database_url: str) -> None:
    async with running_gateway(database_url, workers=False) as gateway:
        await _fill(gateway)
        before = await _shown(gateway)
    assert len(before["/v1/tasks"]) == 6
    assert len(before["/v1/notifications"]) >= 5
    down = _revisions()
    assert (down[0], down[-1]) == (head(), OLDEST)
    for revision in (*down[1:], *reversed(down)):
        await asyncio.to_thread(migrate, database_url, revision)
    async with running_gateway(database_url, workers=False) as gateway:
        assert await _shown(gateway) == before
        queued = next(task for task in before["/v1/tasks"] if task["status"] == "queued")
        body = {"lyrics": [{"item_id": "l1", "status": "succeeded", "lyric": "words"}]}
        assert (await gateway.call_back("lyrics", body, uuid.UUID(queued["id"]))).text == "success"
        assert (await gateway.task(queued["id"]))["status"] == "succeeded"
