"""A client's key is replaced without a gap, an ended one is good nowhere, and one sees which are still in use."""

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.clients.clients import ensure_bootstrap
from app.clients.keys import FLUSH_S
from app.errors import BadSettings
from tests.support.commands import call, environment
from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import ADMIN_KEY, SONG, Running, running_gateway
from tests.support.not_none import present
from tests.support.programs import Ended
from tests.support.song_callbacks import assert_problem
from tests.support.start_fixtures import StartGateway


def bearer(api_key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {api_key}"}


async def make(gateway: Running, name: str = "studio") -> str:
    return (await gateway.api.post("/v1/clients", json={"name": name})).json()["api_key"]


async def rotate(gateway: Running, name: str = "studio", **body: Any) -> dict[str, Any]:
    answer = await gateway.api.post(f"/v1/clients/{name}/key", json=body or None)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def good(gateway: Running, *keys: str) -> list[bool]:
    """Which of these keys open the door; anything but 200 and 401 fails the test."""
    answers = [await gateway.api.get("/v1/tasks", headers=bearer(key)) for key in keys]
    assert {answer.status_code for answer in answers} <= {200, 401}
    return [answer.status_code == 200 for answer in answers]


async def shown(gateway: Running, name: str = "studio") -> dict[str, Any]:
    listed = (await gateway.api.get("/v1/clients")).json()["data"]
    return next(one for one in listed if one["name"] == name)


async def test_the_old_key_goes_on_beside_the_new_one_for_its_time(
    gateway: Running, clock: ScaledClock, db: Direct
) -> None:
    old = await make(gateway)
    made = await rotate(gateway, overlap_s=3600)
    new = made["api_key"]
    assert made["name"] == "studio"
    assert await good(gateway, old, new) == [True, True]
    assert (await shown(gateway))["previous_key_until"] == made["previous_key_until"]
    # Both are the same client: what one submits, the other reads.
    body = {"kind": "song.generate", "params": SONG}
    task = (await gateway.api.post("/v1/tasks", json=body, headers=bearer(old))).json()
    assert (await gateway.api.get(f"/v1/tasks/{task['id']}", headers=bearer(new))).status_code == 200
    clock.skip(3500)
    assert await good(gateway, old, new) == [True, True]
    clock.skip(101)
    assert await good(gateway, old, new) == [False, True]
    # Neither stands anywhere, in the list or in the tables.
    assert await db.mentions(old, new) == []
    listed = (await gateway.api.get("/v1/clients")).text
    assert old not in listed
    assert new not in listed


async def test_without_a_word_it_goes_on_for_a_day(gateway: Running, clock: ScaledClock) -> None:
    old = await make(gateway)
    new = (await rotate(gateway))["api_key"]
    clock.skip(86_390)
    assert await good(gateway, old, new) == [True, True]
    clock.skip(20)
    assert await good(gateway, old, new) == [False, True]


async def test_without_overlap_it_ends_at_once(gateway: Running) -> None:
    old = await make(gateway)
    made = await rotate(gateway, overlap_s=0)
    assert made["previous_key_until"] is None
    assert await good(gateway, old, made["api_key"]) == [False, True]


async def test_a_client_has_two_keys_at_most(gateway: Running) -> None:
    first = await make(gateway)
    second, third = [(await rotate(gateway))["api_key"] for _ in range(2)]
    assert await good(gateway, first, second, third) == [False, True, True]
    assert len({first, second, third}) == 3


async def test_the_old_key_can_be_dropped_before_its_time(gateway: Running) -> None:
    old = await make(gateway)
    new = (await rotate(gateway))["api_key"]
    assert (await gateway.api.delete("/v1/clients/studio/previous-key")).status_code == 204
    assert await good(gateway, old, new) == [False, True]
    assert (await shown(gateway))["previous_key_until"] is None
    # Again is no fault, and does not touch the present one.
    assert (await gateway.api.delete("/v1/clients/studio/previous-key")).status_code == 204
    assert await good(gateway, new) == [True]


async def test_revocation_ends_both_keys(gateway: Running) -> None:
    old = await make(gateway)
    new = (await rotate(gateway))["api_key"]
    assert (await gateway.api.delete("/v1/clients/studio")).status_code == 204
    assert await good(gateway, old, new) == [False, False]
    for method, path in (("POST", "/v1/clients/studio/key"), ("DELETE", "/v1/clients/studio/previous-key")):
        assert_problem(await gateway.api.request(method, path), 404, "not_found")


async def test_only_admins_rotate_and_only_sensibly(gateway: Running) -> None:
    key = await make(gateway)
    path = "/v1/clients/studio/key"
    assert_problem(await gateway.api.post(path, headers=bearer(key)), 403, "forbidden")
    assert_problem(await gateway.api.delete("/v1/clients/studio/previous-key", headers=bearer(key)), 403, "forbidden")
    assert_problem(await gateway.api.post("/v1/clients/nobody/key"), 404, "not_found")
    bad: list[Any] = [
        {"overlap_s": -1},
        {"overlap_s": 1e12},
        {"overlap_s": "60"},
        {"overlap": 60},
        [],
        {"overlap_s": None},
    ]
    for body in bad:
        assert_problem(await gateway.api.post(path, json=body), 422, "invalid_request")
    assert await good(gateway, key) == [True]
    # Its key comes from the settings at each start; another would not last.
    assert_problem(await gateway.api.post("/v1/clients/bootstrap/key"), 409, "conflict")
    assert (await gateway.api.get("/v1/tasks")).status_code == 200


async def test_when_a_key_was_used_is_written_apart_from_the_request_and_once_a_minute(
    gateway: Running, clock: ScaledClock, db: Direct
) -> None:
    key = await make(gateway)
    started_s = asyncio.get_running_loop().time()
    before = await db.everything()
    for _ in range(5):
        await asyncio.sleep(1)
        assert await good(gateway, key) == [True]
    latest = clock.now()
    # Reading wrote nothing, and nothing is due yet.
    await asyncio.sleep(started_s + FLUSH_S - 1 - asyncio.get_running_loop().time())
    assert await db.everything() == before
    await asyncio.sleep(2)
    used_at = datetime.fromisoformat((await shown(gateway))["key_last_used_at"])
    assert latest - timedelta(seconds=1) <= used_at <= latest


async def test_one_sees_which_key_is_still_in_use(gateway: Running, clock: ScaledClock) -> None:
    uses, api_db = gateway.gateway.services.key_uses, gateway.gateway.context.db

    async def times() -> list[datetime | None]:
        await uses.flush(api_db)
        one = await shown(gateway)
        names = ("key_last_used_at", "previous_key_last_used_at")
        return [datetime.fromisoformat(one[name]) if one[name] else None for name in names]

    old = await make(gateway)
    assert await times() == [None, None]
    await good(gateway, old)
    [first, none] = await times()
    assert (first is not None, none) == (True, None)
    new = (await rotate(gateway))["api_key"]
    # The time goes with its key.
    assert await times() == [None, first]
    clock.skip(10)
    await good(gateway, old)
    [none, later] = await times()
    assert none is None
    assert present(later) - present(first) >= timedelta(seconds=10)
    clock.skip(10)
    await good(gateway, new)
    [newest, still] = await times()
    assert still == later
    assert present(newest) > present(later)


async def test_what_a_process_noted_is_written_when_it_stops(database_url: str, start_gateway: StartGateway) -> None:
    async with running_gateway(database_url, workers=False) as first:
        key = await make(first)
        await good(first, key)
        assert (await shown(first))["key_last_used_at"] is None
    second = await start_gateway(workers=False)
    assert (await shown(second))["key_last_used_at"] is not None


async def test_a_key_that_was_taken_for_the_admins_is_nobody_elses(
    database_url: str, start_gateway: StartGateway
) -> None:
    async with running_gateway(database_url, workers=False) as first:
        old = await make(first)
        await rotate(first)
    gateway = await start_gateway(workers=False, bootstrap_admin_key=old)
    answer = await gateway.api.get("/v1/clients", headers=bearer(old))
    assert answer.status_code == 200
    assert [one["previous_key_until"] for one in answer.json()["data"]] == [None, None]


async def test_a_clients_key_is_not_taken_for_the_admins(gateway: Running) -> None:
    """The client would be gone, with its webhook secret, and its tasks would be those of whoever got its name."""
    key, context = await make(gateway), gateway.gateway.context
    with pytest.raises(BadSettings, match="GATEWAY_BOOTSTRAP_ADMIN_KEY: it is the API key of the client 'studio'"):
        await ensure_bootstrap(context.db, context.clock, key)
    assert (await gateway.api.get("/v1/me", headers=bearer(key))).json()["name"] == "studio"


async def test_who_waits_by_a_key_is_answered_when_that_key_ends_and_others_wait_on(gateway: Running) -> None:
    old = await make(gateway)
    new = (await rotate(gateway))["api_key"]
    task = (
        await gateway.api.post("/v1/tasks", json={"kind": "song.generate", "params": SONG}, headers=bearer(new))
    ).json()
    path = f"/v1/tasks/{task['id']}?wait=8"
    by_old, by_new = [asyncio.ensure_future(gateway.api.get(path, headers=bearer(key))) for key in (old, new)]
    await asyncio.sleep(0.3)
    await gateway.api.delete("/v1/clients/studio/previous-key")
    assert (await asyncio.wait_for(by_old, 5)).status_code == 401
    assert not by_new.done()
    assert (await by_new).status_code == 200


@on_sqlite
async def test_keys_are_rotated_on_the_command_line(gateway: Running, database_url: str, clock: ScaledClock) -> None:
    env = environment(database_url)

    async def command(*arguments: str, code: str | int = 0) -> Ended:
        ended = await call("clients", *arguments, env=env)
        assert ended.code == code, ended.err
        return ended

    async def key_of(*arguments: str) -> Any:
        return json.loads((await command(*arguments)).out)["api_key"]

    keys = [await key_of("create", "studio")]
    for more in ((), ("--overlap-hours", "1.5"), ("--overlap-hours", "0")):
        keys.append(await key_of("rotate", "studio", *more))
        listed = (await command("list")).out
        assert ("old key until" in listed) is (more[-1:] != ("0",))
        assert "used never" in listed
    assert await good(gateway, *keys) == [False, False, False, True]
    keys.append(await key_of("rotate", "studio"))
    assert await good(gateway, *keys[-2:]) == [True, True]
    told = (await command("drop-old-key", "studio")).text
    assert await good(gateway, *keys[-2:]) == [False, True]
    for refused in (("rotate", "nobody"), ("drop-old-key", "nobody"), ("rotate", "bootstrap")):
        told += (await command(*refused, code=1)).text
    assert not [key for key in [*keys, ADMIN_KEY] if key in told]


async def test_a_name_is_not_given_again_while_something_of_who_had_it_is_kept(
    start_gateway: StartGateway, clock: ScaledClock, db: Direct
) -> None:
    """Whoever gets it sees what is of that name."""
    gateway = await start_gateway(workers=False, clock=clock)
    key = await make(gateway)
    made = await gateway.api.post("/v1/tasks", json={"kind": "song.generate", "params": SONG}, headers=bearer(key))
    await gateway.api.post(f"/v1/tasks/{made.json()['id']}/cancel")
    assert (await gateway.api.delete("/v1/clients/studio")).status_code == 204
    clock.skip(31 * 86400)
    assert_problem(await gateway.api.post("/v1/clients", json={"name": "studio"}), 409, "conflict")
    await db.execute("DELETE FROM timeline", "DELETE FROM tasks")
    key = await make(gateway)
    assert (await gateway.api.get("/v1/tasks", headers=bearer(key))).json()["data"] == []


async def test_a_name_is_not_given_again_while_an_idempotency_key_of_it_names_tasks(
    start_gateway: StartGateway, clock: ScaledClock, db: Direct
) -> None:
    """An admin's key names the tasks of others, which whoever got the name would be answered with."""
    gateway = await start_gateway(workers=False, clock=clock)
    studio = await make(gateway)
    ops = (await gateway.api.post("/v1/clients", json={"name": "ops", "admin": True})).json()
    made = await gateway.api.post("/v1/tasks", json={"kind": "song.generate", "params": SONG}, headers=bearer(studio))
    task = f"/v1/tasks/{made.json()['id']}"
    assert (await gateway.api.post(f"{task}/cancel")).status_code == 200
    headers = {**bearer(ops["api_key"]), "Idempotency-Key": "again"}
    assert (await gateway.api.post(f"{task}/retry", headers=headers)).status_code == 202
    assert (await gateway.api.delete("/v1/clients/ops")).status_code == 204
    clock.skip(31 * 86400)
    assert_problem(await gateway.api.post("/v1/clients", json={"name": "ops"}), 409, "conflict")
    await db.execute("DELETE FROM idempotency_keys")
    assert (await gateway.api.post("/v1/clients", json={"name": "ops"})).status_code == 201
