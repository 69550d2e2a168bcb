"""The audit: every act of an admin leaves a row, without a secret in it, and no row can be changed or taken away."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from app.audit.audit import Actor
from app.operations.retention import purge
from tests.support.commands import call, environment
from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import SONG, Running
from tests.support.song_callbacks import assert_problem, done, logged, song
from tests.support.start_fixtures import StartGateway, StartSandbox


@pytest.fixture
async def gateway(gateway: Running, clock: ScaledClock) -> Running:
    """A gateway whose requests are a second apart: of two acts within a millisecond none is the later one."""
    gateway.api.event_hooks = {"request": [ticking(clock)]}
    return gateway


def ticking(clock: ScaledClock) -> Callable[..., Awaitable[Any]]:
    async def tick(_request: Any) -> None:
        clock.skip(1)

    return tick


async def acts(gateway: Running, **params: Any) -> Any:
    answer = await gateway.api.get("/v1/audit", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def client_of(gateway: Running, name: str, **more: Any) -> tuple[dict[str, str], Any]:
    answer = await gateway.api.post("/v1/clients", json={"name": name, **more})
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['api_key']}"}, answer.json()


async def test_what_is_done_with_clients_is_recorded_without_their_secrets(gateway: Running, db: Direct) -> None:
    _, made = await client_of(gateway, "studio")
    rotated = await gateway.api.post("/v1/clients/studio/webhook-secret", headers={"X-Request-ID": "req-7"})
    assert (await gateway.api.delete("/v1/clients/studio")).status_code == 204
    found = await acts(gateway)
    assert [(one["actor"], one["action"], one["target"]) for one in found] == [
        ("bootstrap", "clients.revoke", "studio"),
        ("bootstrap", "clients.rotate_webhook_secret", "studio"),
        ("bootstrap", "clients.create", "studio"),
    ]
    # A request that brings no id is given one.
    assert [one["request_id"] == "req-7" for one in found] == [False, True, False]
    assert found[2]["detail"] == {"admin": False}
    rows = str(await db.rows("SELECT * FROM audit"))
    for secret in (made["api_key"], made["webhook_secret"], rotated.json()["webhook_secret"]):
        assert secret not in rows


async def test_what_fails_is_not_recorded(gateway: Running) -> None:
    await client_of(gateway, "studio")
    assert (await gateway.api.post("/v1/clients", json={"name": "studio"})).status_code == 409
    assert (await gateway.api.delete("/v1/clients/nobody")).status_code == 404
    assert (await gateway.api.post("/v1/clients/nobody/webhook-secret")).status_code == 404
    assert len(await acts(gateway)) == 1


async def test_an_admins_hand_in_another_clients_tasks_is_recorded_and_its_own_is_not(
    start_gateway: StartGateway, start_sandbox: StartSandbox, clock: ScaledClock
) -> None:
    sandbox = await start_sandbox(scale=60)
    gateway = await start_gateway(sandbox, workers=False, query_rate_per_s=50, clock=clock)
    gateway.api.event_hooks = {"request": [ticking(clock)]}
    studio, _ = await client_of(gateway, "studio")

    async def submit(headers: dict[str, str] | None = None) -> Any:
        answer = await gateway.api.post("/v1/tasks", json={"kind": "song.generate", "params": SONG}, headers=headers)
        return answer.json()["id"]

    async def post(task_id: str, what: str, headers: dict[str, str] | None = None) -> httpx.Response:
        return await gateway.api.post(f"/v1/tasks/{task_id}/{what}", headers=headers)

    theirs, own = await submit(studio), await submit()
    asked = await submit(studio)
    await gateway.call_back("song", song("t2m_1"), UUID(asked))
    for task_id in (theirs, own):
        assert (await post(task_id, "cancel")).status_code == 200
        again = await post(task_id, "retry")
        assert again.status_code == 202
    await post(asked, "refresh")
    await post(asked, "refresh", studio)
    await post(await submit(studio), "cancel", studio)
    assert (await post(theirs, "cancel")).status_code == 409
    found = await acts(gateway)
    assert [(one["action"], one["target"]) for one in found] == [
        ("tasks.refresh", asked),
        ("tasks.retry", theirs),
        ("tasks.cancel", theirs),
        ("clients.create", "studio"),
    ]
    assert [one["detail"]["client"] for one in found[:3]] == ["studio"] * 3


async def test_another_clients_notifications_sent_again_are_recorded(gateway: Running) -> None:
    studio, _ = await client_of(gateway, "studio")
    body = {"kind": "song.generate", "params": SONG, "webhook_url": "https://hooks.example/x"}
    for headers in (studio, None):
        task = (await gateway.api.post("/v1/tasks", json=body, headers=headers)).json()
        await gateway.api.post(f"/v1/tasks/{task['id']}/cancel", headers=headers)
    listed = (await gateway.api.get("/v1/notifications")).json()["data"]
    theirs, own = (next(one["id"] for one in listed if one["client"] == name) for name in ("studio", "bootstrap"))
    for notification in (own, theirs):
        assert (await gateway.api.post(f"/v1/notifications/{notification}/redeliver")).status_code == 200
    since = {"since": "2026-01-01T00:00:00Z"}
    for more in ({}, {"client": "studio", "dry_run": True}, {"client": "studio"}):
        assert (await gateway.api.post("/v1/notifications/redeliver", json=since | more)).status_code == 200
    found = [
        (one["target"], one["detail"]) for one in await acts(gateway) if one["action"] == "notifications.redeliver"
    ]
    dead = {"client": "studio", "since": "2026-01-01T00:00:00.000000Z"}
    assert found == [(None, dead), (theirs, {"client": "studio"})]


async def test_it_is_an_admins_and_is_read_page_by_page(gateway: Running) -> None:
    studio, _ = await client_of(gateway, "studio")
    for n in range(4):
        await client_of(gateway, f"client-{n}")
    assert_problem(await gateway.api.get("/v1/audit", headers=studio), 403, "forbidden")
    assert (await gateway.api.get("/v1/audit", headers={"Authorization": ""})).status_code == 401
    found, cursor = [], None
    for size in (2, 2, 1):
        page = (await gateway.api.get("/v1/audit", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))).json()
        assert len(page["data"]) == size
        found += [one["target"] for one in page["data"]]
        cursor = page["next_cursor"]
    assert cursor is None
    assert found == ["client-3", "client-2", "client-1", "client-0", "studio"]
    assert_problem(await gateway.api.get("/v1/audit?cursor=abc"), 400, "bad_cursor")


async def test_a_client_cannot_pass_for_the_command_line(gateway: Running) -> None:
    assert_problem(await gateway.api.post("/v1/clients", json={"name": "cli:root", "admin": True}), 422)


async def test_the_request_id_is_that_of_the_answer(gateway: Running) -> None:
    answered: list[Any] = []
    for given in ("x" * 101, "", "x" * 100):
        body, headers = {"name": f"client-{len(given)}"}, {"X-Request-ID": given}
        answer = await gateway.api.post("/v1/clients", json=body, headers=headers)
        answered.insert(0, answer.headers["x-request-id"])
    assert [one["request_id"] for one in await acts(gateway)] == answered
    assert answered[0] == "x" * 100


@on_sqlite
async def test_commands_are_recorded_under_the_systems_user(database_url: str, gateway: Running) -> None:
    env = environment(database_url) | {"LOGNAME": "mallory", "USER": "mallory"}
    made = await call("clients", "create", "studio", env=env)
    assert made.code == 0, made.err
    assert (await call("clients", "revoke", "studio", env=env)).code == 0
    found = await acts(gateway)
    assert [one["action"] for one in found] == ["clients.revoke", "clients.create"]
    assert all(one["actor"].startswith("cli:") and "mallory" not in one["actor"] for one in found)
    listed = await call("audit", "--limit", "1", env=env)
    [line] = listed.out.splitlines()
    assert line.split("\t")[1:4] == [found[0]["actor"], "clients.revoke", "studio"]


async def test_giving_items_to_a_client_is_recorded_and_refusing_it_is_not(gateway: Running) -> None:
    await client_of(gateway, "studio")
    asked = {"family": "song", "item_ids": ["t2m_1", "t2m_2"], "client": "studio"}
    assert (await gateway.api.post("/v1/tasks/adopt", json=asked)).status_code == 202
    assert (await gateway.api.post("/v1/tasks/adopt", json=asked | {"client": "nobody"})).status_code == 422
    found = [(one["target"], one["detail"]) for one in await acts(gateway) if one["action"] == "tasks.adopt"]
    assert found == [("studio", {"family": "song", "item_ids": ["t2m_1", "t2m_2"]})]


async def test_keys_given_and_ended_are_recorded_without_them(gateway: Running, db: Direct) -> None:
    _, made = await client_of(gateway, "studio")
    new = await gateway.api.post("/v1/clients/studio/key", json={"overlap_s": 60})
    assert (await gateway.api.delete("/v1/clients/studio/previous-key")).status_code == 204
    for name, status in (("nobody", 404), ("bootstrap", 409)):
        assert (await gateway.api.post(f"/v1/clients/{name}/key")).status_code == status
    assert (await gateway.api.delete("/v1/clients/nobody/previous-key")).status_code == 404
    found = await acts(gateway)
    assert [(one["actor"], one["action"], one["target"], one["detail"]) for one in found[:-1]] == [
        ("bootstrap", "clients.drop_previous_key", "studio", {}),
        ("bootstrap", "clients.rotate_key", "studio", {"overlap_s": 60.0}),
    ]
    assert len(found) == 3
    rows = str(await db.rows("SELECT * FROM audit"))
    assert made["api_key"] not in rows
    assert new.json()["api_key"] not in rows


async def test_an_erasure_is_recorded_if_it_erased_something(gateway: Running) -> None:
    studio, _ = await client_of(gateway, "studio")
    task = await gateway.api.post("/v1/tasks", json={"kind": "song.generate", "params": SONG}, headers=studio)

    async def erase(name: str, status: int) -> None:
        assert (await gateway.api.delete(f"/v1/clients/{name}/data")).status_code == status

    await erase("studio", 409)
    assert (await gateway.api.delete("/v1/clients/studio")).status_code == 204
    await erase("studio", 409)
    await erase("nobody", 404)
    assert (await gateway.api.post(f"/v1/tasks/{task.json()['id']}/cancel")).status_code == 200
    for _ in range(2):
        await erase("studio", 200)
    found = [(one["actor"], one["target"]) for one in await acts(gateway) if one["action"] == "clients.erase"]
    assert found == [("bootstrap", "studio")]


async def test_replays_are_recorded(gateway: Running) -> None:
    task = (await gateway.submit())["id"]
    await gateway.call_back("song", done("t2m_1"), UUID(task))
    [row] = await logged(gateway)
    assert await acts(gateway) == []
    assert (await gateway.api.post(f"/v1/callbacks/{row['id']}/replay")).status_code == 200
    assert (await gateway.api.post(f"/v1/callbacks/{task}/replay")).status_code == 404
    [replayed] = await acts(gateway)
    assert (replayed["actor"], replayed["action"], replayed["target"], replayed["detail"]) == (
        "bootstrap",
        "callbacks.replay",
        row["id"],
        {"notify": False},
    )


async def test_a_replay_that_cannot_be_applied_is_not_recorded(gateway: Running, db: Direct) -> None:
    """Neither is half of it: the act and the change are one transaction."""
    task = (await gateway.submit())["id"]
    await gateway.call_back("song", done("t2m_1"), UUID(task))
    [row] = await logged(gateway)
    await db.execute("UPDATE items SET state = '{\"statuses\": 5}'")
    assert (await gateway.api.post(f"/v1/callbacks/{row['id']}/replay")).status_code == 409
    assert await acts(gateway) == []


async def test_a_purge_by_hand_is_recorded_if_it_may_delete(gateway: Running) -> None:
    context = gateway.gateway.context
    for days, dry_run in ((30, True), (1e15, False), (30, False)):
        await purge(context.db, context.clock, Actor("cli:root"), days, dry_run=dry_run)
    [found] = await acts(gateway)
    assert (found["actor"], found["action"], found["target"]) == ("cli:root", "purge", None)
    assert found["detail"] == {"older_than_days": 30}


@on_sqlite
async def test_upkeep_by_commands_is_recorded_too(database_url: str, gateway: Running, db: Direct) -> None:
    env = environment(database_url)
    task = (await gateway.submit())["id"]
    await gateway.call_back("song", done("t2m_1"), UUID(task))
    [row] = await logged(gateway)

    async def command(*arguments: str) -> None:
        ended = await call(*arguments, env=env)
        assert ended.code == 0, ended.text

    await command("clients", "create", "studio")
    await db.execute("DELETE FROM items")
    await command("callbacks", "replay", row["id"], "--notify")
    await command("clients", "rotate", "studio", "--overlap-hours", "1")
    await command("clients", "drop-old-key", "studio")
    await command("purge", "--older-than", "30")
    await command("clients", "revoke", "studio")
    await command("clients", "erase", "studio")
    found = (await acts(gateway))[:-1]
    assert all(one["actor"].startswith("cli:") for one in found)
    assert [(one["action"], one["target"]) for one in found] == [
        ("clients.revoke", "studio"),
        ("purge", None),
        ("clients.drop_previous_key", "studio"),
        ("clients.rotate_key", "studio"),
        ("callbacks.replay", row["id"]),
    ]
    assert [one["detail"] for one in found if one["action"] in ("purge", "callbacks.replay")] == [
        {"older_than_days": 30.0},
        {"notify": True},
    ]


async def test_an_act_of_a_later_release_is_shown_as_it_is(gateway: Running, db: Direct) -> None:
    await client_of(gateway, "studio")
    await db.execute(
        "INSERT INTO audit (id, at, actor, action, target, detail)"
        f" SELECT '{uuid4().hex}', at, actor, 'clients.of_tomorrow', target, detail FROM audit"
    )
    assert {one["action"] for one in await acts(gateway)} == {"clients.create", "clients.of_tomorrow"}
