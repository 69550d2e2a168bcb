"""Who sees what: a client its own, an admin all, nobody else anything."""

from typing import Any
from uuid import UUID

import pytest

from tests.support.direct_sql import Direct
from tests.support.gateway import SONG, Running, running_gateway
from tests.support.not_none import present
from tests.support.song_callbacks import assert_problem, done, said


@pytest.fixture
async def keys(gateway: Running) -> dict[str, Any]:
    """Headers of a client, and of another."""
    made = {}
    for name in ("studio", "radio"):
        answer = await gateway.api.post("/v1/clients", json={"name": name})
        made[name] = {"Authorization": f"Bearer {answer.json()['api_key']}"}
    return made


async def test_a_client_cannot_tell_another_clients_task_from_none(gateway: Running, keys: dict[str, Any]) -> None:
    body = {"kind": "song.generate", "params": SONG, "reference": "secret-ref"}
    task = (await gateway.api.post("/v1/tasks", json=body, headers=keys["studio"])).json()
    await gateway.call_back("song", done("t2m_1"), UUID(task["id"]))
    nothing = "0192aaaa-0000-7000-8000-000000000000"
    for one, other in (
        (f"/v1/tasks/{task['id']}", f"/v1/tasks/{nothing}"),
        (f"/v1/tasks/{task['id']}/timeline", f"/v1/tasks/{nothing}/timeline"),
        ("/v1/items/t2m_1", "/v1/items/t2m_2"),
    ):
        theirs = await gateway.api.get(one, headers=keys["radio"])
        none = await gateway.api.get(other, headers=keys["radio"])
        assert_problem(theirs, 404, "not_found")
        assert said(theirs) == said(none)
    for query in ("", "?reference=secret-ref", "?status=succeeded", "?kind=song.generate"):
        listed = await gateway.api.get(f"/v1/tasks{query}", headers=keys["radio"])
        assert listed.json() == {"data": [], "next_cursor": None}
        listed = await gateway.api.get(f"/v1/tasks{query}", headers=keys["studio"])
        assert [one["id"] for one in listed.json()["data"]] == [task["id"]]
    asked = await gateway.api.get("/v1/tasks?client=studio", headers=keys["radio"])
    assert_problem(asked, 403, "forbidden")
    assert (await gateway.api.get("/v1/tasks?client=studio", headers=keys["studio"])).status_code == 200
    # A cursor of one client is no window into another's list.
    for _ in range(3):
        await gateway.api.post("/v1/tasks", json=body, headers=keys["studio"])
    cursor = (await gateway.api.get("/v1/tasks?limit=1", headers=keys["studio"])).json()["next_cursor"]
    assert_problem(await gateway.api.get(f"/v1/tasks?cursor={cursor}", headers=keys["radio"]), 400, "bad_cursor")


async def test_clients_are_made_listed_and_ended(gateway: Running, db: Direct) -> None:
    made = await gateway.api.post("/v1/clients", json={"name": "studio"})
    assert made.status_code == 201
    secrets = made.json()
    assert (secrets["name"], secrets["admin"]) == ("studio", False)
    assert len(secrets["api_key"]) >= 32
    assert secrets["webhook_secret"].startswith("whsec_")
    # Shown this once, and the key is nowhere: only its digest.
    listed = await gateway.api.get("/v1/clients")
    assert [(one["name"], one["admin"]) for one in listed.json()["data"]] == [("bootstrap", True), ("studio", False)]
    assert secrets["api_key"] not in listed.text
    assert secrets["webhook_secret"] not in listed.text
    assert await db.mentions(secrets["api_key"], present(gateway.settings.bootstrap_admin_key).get_secret_value()) == []
    assert (await gateway.api.post("/v1/clients", json={"name": "studio"})).status_code == 409
    assert (await gateway.api.post("/v1/clients", json={"name": "x", "api_key": "k" * 40})).status_code == 422

    studio = {"Authorization": f"Bearer {secrets['api_key']}"}
    task = (await gateway.api.post("/v1/tasks", json={"kind": "song.generate", "params": SONG}, headers=studio)).json()
    assert (await gateway.api.delete("/v1/clients/studio")).status_code == 204
    assert (await gateway.api.get("/v1/tasks", headers=studio)).status_code == 401
    assert (await gateway.api.delete("/v1/clients/studio")).status_code == 404
    # Its tasks run to their end, its name rests.
    assert (await gateway.call_back("song", done(), UUID(task["id"]))).status_code == 200
    assert (await gateway.task(task["id"]))["status"] == "succeeded"
    assert_problem(await gateway.api.post("/v1/clients", json={"name": "studio"}), 409, "conflict")
    await db.execute("UPDATE clients SET revoked_at = '2020-01-01 00:00:00' WHERE name = 'studio'")
    assert_problem(await gateway.api.post("/v1/clients", json={"name": "studio"}), 409, "conflict")
    await db.execute("DELETE FROM callbacks", "DELETE FROM tasks")
    again = await gateway.api.post("/v1/clients", json={"name": "studio"})
    assert again.status_code == 201
    assert again.json()["api_key"] != secrets["api_key"]
    assert (await gateway.api.get("/v1/tasks", headers=studio)).status_code == 401


async def test_an_admin_of_the_settings_comes_back_at_each_start(database_url: str) -> None:
    async with running_gateway(database_url, workers=False) as first:
        assert (await first.api.delete("/v1/clients/bootstrap")).status_code == 204
        assert (await first.api.get("/v1/tasks")).status_code == 401
    changed = "another-admin-key-0123456789abcdef01234567"
    async with running_gateway(database_url, workers=False, bootstrap_admin_key=changed) as second:
        assert (await second.api.get("/v1/tasks")).status_code == 401
        answer = await second.api.get("/v1/clients", headers={"Authorization": f"Bearer {changed}"})
        assert [(one["name"], one["revoked_at"]) for one in answer.json()["data"]] == [("bootstrap", None)]
