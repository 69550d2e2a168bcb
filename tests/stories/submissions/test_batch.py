"""A batch of tasks: all or none, each fault with its index, once per idempotency key."""

import json
from typing import Any

import httpx
import pytest

from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.gateway import PARAMS, SONG, Running
from tests.support.song_callbacks import assert_problem

KEY = {"Idempotency-Key": "month-17"}


async def _post(gateway: Running, body: dict[str, Any] | list[Any] | str, **headers: Any) -> httpx.Response:
    return await gateway.api.post("/v1/tasks/batch", json=body, headers=headers)


async def test_a_batch_is_taken_whole_and_answered_in_order(gateway: Running, db: Direct) -> None:
    given = [{"kind": kind, "params": params, "reference": f"order-{kind}"} for kind, params in PARAMS.items()]
    answer = await _post(gateway, {"tasks": given})
    assert answer.status_code == 202
    page = answer.json()
    assert page["next_cursor"] is None
    assert [(one["kind"], one["params"], one["reference"]) for one in page["data"]] == [
        (one["kind"], one["params"], one["reference"]) for one in given
    ]
    for one in page["data"]:
        assert (one["status"], one["version"], one["client"]) == ("queued", 1, "bootstrap")
        assert await gateway.task(one["id"]) == one
        assert [entry["type"] for entry in await gateway.timeline(one["id"])] == ["accepted"]
    assert len(await db.rows("SELECT id FROM tasks")) == len(given)


async def test_one_bad_task_leaves_none_and_every_fault_has_its_index(gateway: Running, db: Direct) -> None:
    before = await db.everything()
    good = {"kind": "song.generate", "params": SONG}
    deep: list[Any] = []
    for _ in range(40):
        deep = [deep]
    bad = [
        good,
        {"kind": "nonsense", "params": SONG},
        {"kind": "song.generate", "params": {"model": "m"}},
        good,
        {**good, "params": {**SONG, "callback_url": "https://evil.example/"}},
        {**good, "metadata": {"y": "y" * 65 * 1024}},
        "no task",
        {**good, "metadata": {"deep": deep}},
    ]
    answer = await _post(gateway, {"tasks": bad}, **KEY)
    problem = assert_problem(answer, 422, "invalid_request")
    assert {fault["path"] for fault in problem["errors"]} == {
        "tasks.1.kind",
        "tasks.2.params.prompt",
        "tasks.4.params.callback_url",
        "tasks.5.params",
        "tasks.6",
        "tasks.7",
    }
    assert await db.everything() == before
    # A request that was refused is not remembered.
    assert (await _post(gateway, {"tasks": [good]}, **KEY)).status_code == 202


@on_sqlite
@pytest.mark.parametrize(
    "body",
    [{}, {"tasks": []}, {"tasks": {}}, {"tasks": None}, [], {"tasks": "abc"}, "tasks"],
    ids=str,
)
async def test_what_is_no_batch_is_refused(
    gateway: Running, db: Direct, body: dict[str, Any] | list[Any] | str
) -> None:
    before = await db.everything()
    assert_problem(await _post(gateway, body), 422, "invalid_request")
    assert await db.everything() == before


@on_sqlite
async def test_a_hundred_are_taken_and_one_more_is_not(gateway: Running, db: Direct) -> None:
    one = {"kind": "lyrics.generate", "params": {"prompt": "rain"}}
    assert_problem(await _post(gateway, {"tasks": [one] * 101}), 422, "invalid_request")
    assert_problem(await _post(gateway, {"tasks": [one], "more": 1}), 422, "invalid_request")
    assert await db.rows("SELECT id FROM tasks") == []
    answer = await _post(gateway, {"tasks": [one] * 100})
    assert answer.status_code == 202
    assert len({task["id"] for task in answer.json()["data"]}) == 100


async def test_the_limit_of_64_kib_is_each_tasks_own(gateway: Running) -> None:
    """A hundred tasks of the greatest size fit into one body."""
    frame = len(json.dumps({**SONG, "x": ""}, separators=(",", ":")))
    full = {"kind": "song.generate", "params": {**SONG, "x": "x" * (64 * 1024 - frame)}}
    answer = await _post(gateway, {"tasks": [full] * 100})
    assert answer.status_code == 202
    assert [task["params"] == full["params"] for task in answer.json()["data"]] == [True] * 100
    over = {**full, "metadata": {"a": 1}}
    problem = assert_problem(await _post(gateway, {"tasks": [full, over]}), 422, "invalid_request")
    assert [fault["path"] for fault in problem["errors"]] == ["tasks.1.params"]


async def test_an_idempotency_key_makes_a_batch_once_and_is_the_routes_own(gateway: Running, db: Direct) -> None:
    body = {"tasks": [{"kind": "song.generate", "params": SONG, "reference": str(n)} for n in range(3)]}
    first = await _post(gateway, body, **KEY)
    assert (first.status_code, first.headers.get("idempotent-replayed")) == (202, None)
    again = await _post(gateway, body, **KEY)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    assert again.json() == first.json()
    assert_problem(await _post(gateway, {"tasks": body["tasks"][:2]}, **KEY), 422, "idempotency_mismatch")
    assert len(await db.rows("SELECT id FROM tasks")) == 3
    single = await gateway.api.post("/v1/tasks", json=body["tasks"][0], headers=KEY)
    assert single.status_code == 202
    assert len(await db.rows("SELECT id FROM tasks")) == 4


@on_sqlite
async def test_a_batch_needs_a_key_and_is_its_clients(gateway: Running) -> None:
    body = {"tasks": [{"kind": "song.generate", "params": SONG}]}
    assert_problem(await _post(gateway, body, Authorization="Bearer nobody"), 401, "unauthenticated")
    made = (await gateway.api.post("/v1/clients", json={"name": "studio"})).json()
    answer = await _post(gateway, body, Authorization=f"Bearer {made['api_key']}")
    assert [task["client"] for task in answer.json()["data"]] == ["studio"]
