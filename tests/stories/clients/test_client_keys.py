"""A client's key is replaced without a gap, an ended one is good nowhere, and one sees which are still in use."""

import asyncio
import json
from datetime import datetime, timedelta

import pytest

from app.flows.client_keys import FLUSH_S
from tests.support.bodies import assert_problem
from tests.support.clock import ScaledClock
from tests.support.commands import environment, run, running
from tests.support.databases import on_postgresql, on_sqlite
from tests.support.gateway import ADMIN_KEY, SONG, running_gateway


def bearer(api_key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {api_key}"}


async def make(gateway, name: str = "studio") -> str:
    return (await gateway.api.post("/v1/clients", json={"name": name})).json()["api_key"]


async def rotate(gateway, name: str = "studio", **body) -> dict:
    answer = await gateway.api.post(f"/v1/clients/{name}/key", **({"json": body} if body else {}))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def good(gateway, *keys: str) -> list[bool]:
    """Which of these keys open the door; anything but 200 and 401 fails the test."""
    answers = [await gateway.api.get("/v1/tasks", headers=bearer(key)) for key in keys]
    assert {answer.status_code for answer in answers} <= {200, 401}
    return [answer.status_code == 200 for answer in answers]


async def shown(gateway, name: str = "studio") -> dict:
    listed = (await gateway.api.get("/v1/clients")).json()["data"]
    return next(one for one in listed if one["name"] == name)


async def test_the_old_key_goes_on_beside_the_new_one_for_its_time(start_gateway, db):
    clock = ScaledClock()
    gateway = await start_gateway(workers=False, clock=clock)
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


async def test_without_a_word_it_goes_on_for_a_day(start_gateway):
    clock = ScaledClock()
    gateway = await start_gateway(workers=False, clock=clock)
    old = await make(gateway)
    new = (await rotate(gateway))["api_key"]
    clock.skip(86_390)
    assert await good(gateway, old, new) == [True, True]
    clock.skip(20)
    assert await good(gateway, old, new) == [False, True]


async def test_without_overlap_it_ends_at_once(gateway):
    old = await make(gateway)
    made = await rotate(gateway, overlap_s=0)
    assert made["previous_key_until"] is None
    assert await good(gateway, old, made["api_key"]) == [False, True]


async def test_a_client_has_two_keys_at_most(gateway):
    first = await make(gateway)
    second, third = [(await rotate(gateway))["api_key"] for _ in range(2)]
    assert await good(gateway, first, second, third) == [False, True, True]
    assert len({first, second, third}) == 3


async def test_the_old_key_can_be_dropped_before_its_time(gateway):
    old = await make(gateway)
    new = (await rotate(gateway))["api_key"]
    assert (await gateway.api.delete("/v1/clients/studio/previous-key")).status_code == 204
    assert await good(gateway, old, new) == [False, True]
    assert (await shown(gateway))["previous_key_until"] is None
    # Again is no fault, and does not touch the present one.
    assert (await gateway.api.delete("/v1/clients/studio/previous-key")).status_code == 204
    assert await good(gateway, new) == [True]


async def test_revocation_ends_both_keys(gateway):
    old = await make(gateway)
    new = (await rotate(gateway))["api_key"]
    assert (await gateway.api.delete("/v1/clients/studio")).status_code == 204
    assert await good(gateway, old, new) == [False, False]
    for method, path in (("POST", "/v1/clients/studio/key"), ("DELETE", "/v1/clients/studio/previous-key")):
        assert_problem(await gateway.api.request(method, path), 404, "not_found")


async def test_only_admins_rotate_and_only_sensibly(gateway):
    key = await make(gateway)
    path = "/v1/clients/studio/key"
    assert_problem(await gateway.api.post(path, headers=bearer(key)), 403, "forbidden")
    assert_problem(await gateway.api.delete("/v1/clients/studio/previous-key", headers=bearer(key)), 403, "forbidden")
    assert_problem(await gateway.api.post("/v1/clients/nobody/key"), 404, "not_found")
    for body in ({"overlap_s": -1}, {"overlap_s": 1e12}, {"overlap_s": "60"}, {"overlap": 60}, [], {"overlap_s": None}):
        assert_problem(await gateway.api.post(path, json=body), 422, "invalid_request")
    assert await good(gateway, key) == [True]
    # Its key comes from the settings at each start; another would not last.
    assert_problem(await gateway.api.post("/v1/clients/bootstrap/key"), 409, "conflict")
    assert (await gateway.api.get("/v1/tasks")).status_code == 200


async def test_when_a_key_was_used_is_written_apart_from_the_request_and_once_a_minute(start_gateway, db):
    clock = ScaledClock()
    gateway = await start_gateway(workers=False, clock=clock)
    key = await make(gateway)
    uses, loops_db = gateway.gateway.services.key_uses, gateway.gateway.context.loops_db()
    await uses.step(loops_db, clock)
    before = await db.everything()
    for _ in range(5):
        clock.skip(1)
        assert await good(gateway, key) == [True]
    # Reading wrote nothing, and nothing is due yet.
    await uses.step(loops_db, clock)
    assert await db.everything() == before
    latest = clock.now()
    clock.skip(FLUSH_S)
    await uses.step(loops_db, clock)
    used_at = datetime.fromisoformat((await shown(gateway))["key_last_used_at"])
    assert latest - timedelta(seconds=1) <= used_at <= latest


async def test_one_sees_which_key_is_still_in_use(start_gateway):
    clock = ScaledClock()
    gateway = await start_gateway(workers=False, clock=clock)
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
    assert later - first >= timedelta(seconds=10)
    clock.skip(10)
    await good(gateway, new)
    [newest, still] = await times()
    assert still == later
    assert newest > later


async def test_what_a_process_noted_is_written_when_it_stops(database_url, start_gateway):
    async with running_gateway(database_url, workers=False) as first:
        key = await make(first)
        await good(first, key)
        assert (await shown(first))["key_last_used_at"] is None
    second = await start_gateway(workers=False)
    assert (await shown(second))["key_last_used_at"] is not None


async def test_a_key_that_was_taken_for_the_admins_is_nobody_elses(database_url, start_gateway):
    async with running_gateway(database_url, workers=False) as first:
        old = await make(first)
        await rotate(first)
    gateway = await start_gateway(workers=False, bootstrap_admin_key=old)
    answer = await gateway.api.get("/v1/clients", headers=bearer(old))
    assert answer.status_code == 200
    assert [one["previous_key_until"] for one in answer.json()["data"]] == [None, None]


async def test_who_waits_by_a_key_is_answered_when_that_key_ends_and_others_wait_on(gateway):
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


@on_postgresql
@pytest.mark.parametrize("end", ["revoke", "rotate", "drop"])
async def test_an_ended_key_is_good_nowhere_within_seconds(tmp_path, database_url, end):
    """Two processes; what one ends is over at the other: requests, a stream and a request that waits."""
    env = environment(database_url)
    async with (
        running("serve", "--workers-off", env=env, cwd=tmp_path) as one,
        running("serve", "--workers-off", env=env, cwd=tmp_path) as other,
    ):
        key = (await one.api.post("/v1/clients", json={"name": "studio"})).json()["api_key"]
        mine = bearer(key)
        body = {"kind": "song.generate", "params": SONG}
        task = (await other.api.post("/v1/tasks", json=body, headers=mine)).json()
        if end == "drop":
            await one.api.post("/v1/clients/studio/key")
        waiting = asyncio.ensure_future(other.api.get(f"/v1/tasks/{task['id']}?wait=30", headers=mine))
        async with (
            other.api.stream("GET", "/v1/stream", headers=mine) as everything,
            other.api.stream("GET", f"/v1/tasks/{task['id']}/stream", headers=mine) as single,
        ):
            assert (everything.status_code, single.status_code) == (200, 200)
            match end:
                case "revoke":
                    ended = await one.api.delete("/v1/clients/studio")
                case "rotate":
                    ended = await one.api.post("/v1/clients/studio/key", json={"overlap_s": 0})
                case _:
                    ended = await one.api.delete("/v1/clients/studio/previous-key")
            assert ended.status_code in (200, 204)
            assert (await other.api.get("/v1/tasks", headers=mine)).status_code == 401
            async with asyncio.timeout(5):
                assert (await waiting).status_code == 401
                await everything.aread()
                await single.aread()


@on_sqlite
async def test_keys_are_rotated_on_the_command_line(tmp_path, database_url):
    env = environment(database_url)
    async with running("serve", env=env, cwd=tmp_path) as served:
        keys = [json.loads((await run("clients", "create", "studio", env=env, cwd=tmp_path)).out)["api_key"]]
        for more in ((), ("--overlap-hours", "1.5"), ("--overlap-hours", "0")):
            done = await run("clients", "rotate", "studio", *more, env=env, cwd=tmp_path)
            assert done.code == 0, done.err
            keys.append(json.loads(done.out)["api_key"])
            listed = (await run("clients", "list", env=env, cwd=tmp_path)).out
            assert ("old key until" in listed) is (more[-1:] != ("0",))
            assert "used never" in listed
        assert await good(served, *keys) == [False, False, False, True]
        keys.append(json.loads((await run("clients", "rotate", "studio", env=env, cwd=tmp_path)).out)["api_key"])
        assert await good(served, *keys[-2:]) == [True, True]
        assert (await run("clients", "drop-old-key", "studio", env=env, cwd=tmp_path)).code == 0
        assert await good(served, *keys[-2:]) == [False, True]
        for command in (("rotate", "nobody"), ("drop-old-key", "nobody"), ("rotate", "bootstrap")):
            failed = await run("clients", *command, env=env, cwd=tmp_path)
            assert (failed.code, "Traceback" in failed.err) == (1, False)
        log = served.log.read_text()
        assert not [key for key in [*keys, ADMIN_KEY] if key in log]
