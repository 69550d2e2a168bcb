"""A model that the vendor takes away holds its own tasks and no others, burns as many as are allowed, and goes on by
itself when it returns; so does an operation that is gone."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from app.database import tables
from app.limits import breaker_rows
from app.limits.model_breaker import Breaker, ModelKey
from app.rules.times import later
from app.runtime.metrics import model_held_tasks
from app.sandbox.calls import Call
from app.sandbox.config import merged
from app.sandbox.state import Sandbox
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running, eventually, running_gateway
from tests.support.start_fixtures import StartGateway, StartSandbox

GONE, OTHER = "TemPolor v4.5", "tempolor-latest"


def song(model: str, n: int = 0) -> dict[str, Any]:
    return {"kind": "song.generate", "params": {"prompt": f"{model} {n}", "model": model}}


async def queue(gateway: Running, bodies: list[Any]) -> list[Any]:
    """Queue tasks, in their order; their ids."""
    ids = []
    for start in range(0, len(bodies), 100):
        answer = await gateway.api.post("/v1/tasks/batch", json={"tasks": bodies[start : start + 100]})
        assert answer.status_code == 202, answer.text
        ids += [task["id"] for task in answer.json()["data"]]
    return ids


def change(sandbox: Sandbox, **fields: Any) -> None:
    sandbox.configure(merged(sandbox.config, fields))


def submissions(sandbox: Sandbox) -> list[Call]:
    return [call for call in sandbox.calls if call.operation == "submit"]


async def statuses(gateway: Running) -> Counter[tuple[str | None, str]]:
    """How many tasks there are of each model in each status."""
    found: Counter[tuple[str | None, str]] = Counter()
    cursor: dict[str, Any] | None = {}
    while cursor is not None:
        answer = (await gateway.api.get("/v1/tasks", params={"limit": 200, **cursor})).json()
        found.update((task["params"].get("model"), task["status"]) for task in answer["data"])
        cursor = {"cursor": answer["next_cursor"]} if answer["next_cursor"] else None
    return found


async def are(gateway: Running, **counts: int) -> Counter[str] | None:
    """Whether so many tasks have each of these statuses."""
    found: Counter[str] = Counter()
    for (_, status), count in (await statuses(gateway)).items():
        found[status] += count
    return found if found == Counter(counts) else None


async def held(gateway: Running) -> Any:
    return (await gateway.api.get("/v1/submissions")).json()["held_models"]


async def waiting(gateway: Running, count: int) -> Any:
    """What is held, once so many tasks of it were found waiting."""
    found = await held(gateway)
    return found if found and found[0]["waiting"] == count else None


async def probes_are_one_a_minute(sandbox: Sandbox, clock: ScaledClock) -> None:
    before = len(submissions(sandbox))
    clock.skip(55)
    await asyncio.sleep(0.4)
    assert len(submissions(sandbox)) == before, "no probe before the minute is over"
    clock.skip(6)
    await eventually(sent(sandbox, before + 1))
    await asyncio.sleep(0.4)
    assert len(submissions(sandbox)) == before + 1, "one probe"


def sent(sandbox: Sandbox, count: int) -> Callable[..., Awaitable[Any]]:
    async def enough() -> bool:
        return len(submissions(sandbox)) >= count

    return enough


@pytest.mark.parametrize("each", [12, pytest.param(250, marks=pytest.mark.slow)])
async def test_a_retired_model_burns_three_of_a_long_queue_and_no_more(
    database_url: str, start_sandbox: StartSandbox, each: int
) -> None:
    sandbox = await start_sandbox(scale=2000, retired_models=[GONE])
    clock = ScaledClock()
    async with running_gateway(database_url, workers=False) as gateway:
        # The tasks of the retired model stand in front of the others.
        await queue(gateway, [song(GONE, n) for n in range(each)] + [song(OTHER, n) for n in range(each)])
    given: dict[str, Any] = {"tempolor_base_url": sandbox.base_url, "clock": clock, "submit_max_in_flight": 10}
    async with running_gateway(database_url, **given) as gateway:
        rest = {(GONE, "failed"): 3, (GONE, "queued"): each - 3, (OTHER, "succeeded"): each}

        async def others_done() -> Any:
            found = await statuses(gateway)
            return found if found[OTHER, "succeeded"] == each else None

        assert await eventually(others_done, timeout_s=120, every_s=0.5) == rest
        # Three, and those that were under way with the third: the two before may have given their places to others.
        assert len(submissions(sandbox)) <= each + 2 + 10
        for _ in range(2):
            before = len(submissions(sandbox))
            clock.skip(61)
            await eventually(sent(sandbox, before + 1))
            await asyncio.sleep(0.5)
            assert len(submissions(sandbox)) == before + 1, "one probe a minute"

            async def nothing_burnt() -> Any:
                return await statuses(gateway) == rest

            await eventually(nothing_burnt, timeout_s=20)
        change(sandbox, retired_models=[])
        clock.skip(61)

        async def all_done() -> Any:
            return (await statuses(gateway))[GONE, "succeeded"] == each - 3

        await eventually(all_done, timeout_s=120, every_s=0.5)
    assert len(list(sandbox.works)) == 2 * each - 3, "each was taken once"


# What else means so: ``tests/rules/tempolor/test_submit_answer.py``.
NOT_OFFERED: dict[str, tuple[dict[str, Any], str]] = {
    "a model": ({"retired_models": ["*"]}, "model_not_offered"),
    "an operation": ({"missing_operations": {"song.generate": 405}}, "kind_not_offered"),
    "a code that nobody knows": ({"submit": {"codes": {"499999": 1}}}, "vendor_refused"),
}


@pytest.mark.parametrize("gone", NOT_OFFERED)
async def test_what_concerns_everybody_holds_after_three_says_so_and_goes_on(
    start_gateway: StartGateway, start_sandbox: StartSandbox, gone: str
) -> None:
    fields, code = NOT_OFFERED[gone]
    sandbox = await start_sandbox(scale=2000)
    change(sandbox, **fields)
    clock = ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock, submit_max_in_flight=1)
    ids = await queue(gateway, [song(OTHER, n) for n in range(6)])
    await eventually(partial(are, gateway, failed=3, queued=3))
    [shown] = await eventually(partial(waiting, gateway, 3))
    named = ("kind", "model", "reason", "waiting")
    assert tuple(shown[name] for name in named) == ("song.generate", OTHER, code, 3)
    assert (await gateway.task(ids[0]))["error"]["code"] == code
    waits = (await gateway.task(ids[-1]))["waiting_for"]
    assert (waits["reason"], waits["since"]) == (code, shown["since"])
    assert waits["until"] > waits["since"]
    backlog = await gateway.api.get("/backlog")
    assert backlog.status_code == 503
    [public] = backlog.json()["held_models"]
    assert public == {name: shown[name] for name in shown if name != "detail"}
    await probes_are_one_a_minute(sandbox, clock)
    assert await are(gateway, failed=3, queued=3), "nothing is burnt by a probe"
    change(sandbox, retired_models=[], missing_operations={}, submit={"codes": {}})
    clock.skip(61)
    for task_id in ids[3:]:
        done = await gateway.until(task_id, "succeeded")
        assert done["waiting_for"] is None
    assert await held(gateway) == []
    assert (await gateway.api.get("/backlog")).json()["held_models"] == []


async def test_the_other_kinds_and_models_go_on(start_gateway: StartGateway, start_sandbox: StartSandbox) -> None:
    sandbox = await start_sandbox(scale=2000, retired_models=[GONE])
    gateway = await start_gateway(sandbox, submit_max_in_flight=1)
    gone = await queue(gateway, [song(GONE, n) for n in range(5)])
    await eventually(partial(are, gateway, failed=3, queued=2))
    others = [song(OTHER), {"kind": "instrumental.generate", "params": {"prompt": "x", "model": "TemPolor i4"}}]
    others += [{"kind": "song.extend", "params": {"item_id": "t2m_1", "start_time": 30}}]
    for task_id in await queue(gateway, others):
        await gateway.until(task_id, "succeeded")
    assert await are(gateway, failed=3, queued=2, succeeded=3)
    assert (await gateway.task(gone[-1]))["waiting_for"]["reason"] == "model_not_offered"


async def test_what_concerns_one_task_holds_nothing(start_gateway: StartGateway, start_sandbox: StartSandbox) -> None:
    sandbox = await start_sandbox(scale=2000)
    answers: list[dict[str, Any]] = [
        {"status": 400004},
        {"status": 400003, "message": "callback_url not blank"},
        {"status": 400003, "message": "model not blank"},
        {"status": 400008},
        {"http_status": 422},
    ]
    sandbox.add_rules(answers=[{"operation": "submit"} | answer for answer in answers])
    gateway = await start_gateway(sandbox, submit_max_in_flight=1)
    await queue(gateway, [song(OTHER, n) for n in range(7)])
    await eventually(partial(are, gateway, failed=5, succeeded=2))
    assert await held(gateway) == []


async def test_an_acceptance_between_two_refusals_counts_anew(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=2000)
    no = {"operation": "submit", "status": 400003, "message": "model not support"}
    sandbox.add_rules(answers=[no | {"prompt": f" {n}"} for n in (0, 1, 3, 4)])
    gateway = await start_gateway(sandbox, submit_max_in_flight=1)
    await queue(gateway, [song(OTHER, n) for n in range(6)])
    await eventually(partial(are, gateway, failed=4, succeeded=2))
    assert await held(gateway) == []


async def test_how_many_are_refused_before_it_holds_is_a_setting(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=2000, retired_models=["*"])
    gateway = await start_gateway(sandbox, submit_max_in_flight=1, submit_refusals_to_hold=2)
    await queue(gateway, [song(OTHER, n) for n in range(4)])
    await eventually(partial(are, gateway, failed=2, queued=2))
    assert len(await held(gateway)) == 1


async def test_a_probe_that_is_refused_for_its_own_sake_fails_alone_and_the_next_one_goes_at_once(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=2000, retired_models=["*"])
    clock = ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock, submit_max_in_flight=1)
    await queue(gateway, [song(OTHER, n) for n in range(5)])
    await eventually(partial(are, gateway, failed=3, queued=2))
    sandbox.add_rules(answers=[{"operation": "submit", "status": 400004, "prompt": " 3"}])
    change(sandbox, retired_models=[])
    clock.skip(61)
    await eventually(partial(are, gateway, failed=4, succeeded=1))


async def test_each_probe_is_the_oldest_of_those_that_were_tried_least(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    """One that can never be taken must not be the only probe there is."""
    sandbox = await start_sandbox(scale=2000, retired_models=["*"])
    clock = ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock, submit_max_in_flight=1)
    ids = await queue(gateway, [song(OTHER, n) for n in range(5)])
    await eventually(partial(are, gateway, failed=3, queued=2))
    for tried in ([1, 0], [1, 1], [2, 1]):
        await probes_are_one_a_minute(sandbox, clock)
        entries = [[one["type"] for one in await gateway.timeline(task_id)] for task_id in ids[3:]]
        assert [types.count("refused") for types in entries] == tried


async def test_a_release_by_hand_lets_all_go(start_gateway: StartGateway, start_sandbox: StartSandbox) -> None:
    sandbox = await start_sandbox(scale=2000, retired_models=["*"])
    gateway = await start_gateway(sandbox, submit_max_in_flight=1)
    ids = await queue(gateway, [song(OTHER, n) for n in range(5)])
    await eventually(partial(are, gateway, failed=3, queued=2))
    change(sandbox, retired_models=[])
    released = await gateway.api.post("/v1/submissions/release")
    assert released.json()["held_models"] == []
    for task_id in ids[3:]:
        await gateway.until(task_id, "succeeded")


async def test_a_hold_by_hand_is_released_first_and_the_model_stays_held(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=2000, retired_models=["*"])
    gateway = await start_gateway(sandbox, submit_max_in_flight=1)
    ids = await queue(gateway, [song(OTHER, n) for n in range(4)])
    await eventually(partial(are, gateway, failed=3, queued=1))
    await gateway.api.post("/v1/submissions/hold", json={"reason": "a pause"})
    assert (await gateway.task(ids[-1]))["waiting_for"] | {"since": None} == {
        "reason": "held_by_hand",
        "since": None,
        "until": None,
    }
    await gateway.api.post("/v1/submissions/release")
    assert len(await held(gateway)) == 1
    assert (await gateway.task(ids[-1]))["waiting_for"]["reason"] == "model_not_offered"


async def test_an_alias_sends_what_waits_under_another_name(start_sandbox: StartSandbox, database_url: str) -> None:
    """The remedy: the operator names today's model, and restarts."""
    sandbox = await start_sandbox(scale=2000, retired_models=[GONE])
    given: dict[str, Any] = {"tempolor_base_url": sandbox.base_url, "submit_max_in_flight": 1}
    async with running_gateway(database_url, **given) as gateway:
        ids = await queue(gateway, [song(GONE, n) for n in range(5)])
        await eventually(partial(are, gateway, failed=3, queued=2))
        assert (await gateway.task(ids[0]))["submitted_model"] is None
    async with running_gateway(database_url, **given, model_aliases=f"{GONE}={OTHER}") as gateway:
        for task_id in ids[3:]:
            done = await gateway.until(task_id, "succeeded")
            assert (done["params"]["model"], done["submitted_model"]) == (GONE, OTHER)
            assert done["items"][0]["model"] == OTHER
            [told] = [one["detail"] for one in await gateway.timeline(task_id) if one["type"] == "submitting"]
            assert told["submitted_model"] == OTHER
        assert await held(gateway) == []
        again = (await gateway.api.post(f"/v1/tasks/{ids[0]}/retry")).json()
        assert (await gateway.until(again["id"], "succeeded"))["submitted_model"] == OTHER


EXTENSION = {"item_id": "t", "start_time": 30}


ALIASED = [
    ("song.generate", {"prompt": "x", "model": "a"}, {"prompt": "x", "model": "b"}, "b"),
    ("song.generate", {"prompt": "x", "model": "b"}, {"prompt": "x", "model": "c"}, "c"),
    ("song.generate", {"prompt": "x", "model": "c"}, {"prompt": "x", "model": "c"}, None),
    ("song.generate", {"prompt": "x", "model": "A"}, {"prompt": "x", "model": "A"}, None),
    ("lyrics.generate", {"prompt": "x", "song_model": "a"}, {"prompt": "x", "song_model": "b"}, "b"),
    ("lyrics.generate", {"prompt": "x", "song_model": None}, {"prompt": "x", "song_model": None}, None),
    ("song.extend", EXTENSION, EXTENSION, None),
    ("song.extend", EXTENSION | {"model": 5}, EXTENSION | {"model": 5}, None),
]


async def test_an_alias_is_looked_up_once_and_params_stay_as_given(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=2000)
    gateway = await start_gateway(sandbox, model_aliases={"a": "b", "b": "c"})
    for kind, params, sent_params, submitted in ALIASED:
        task = await gateway.submit(kind, params=params)
        assert task["submitted_model"] is None
        done = await gateway.until(task["id"], "running", "main_succeeded", "succeeded")
        assert (done["params"], done["submitted_model"]) == (params, submitted)
        assert list(sandbox.works)[-1].params == sent_params


async def test_a_model_that_stands_in_for_another_is_held_also_where_others_stand_in_for_it(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=2000, retired_models=["b"])
    gateway = await start_gateway(sandbox, model_aliases={"a": "b", "b": "c"}, submit_max_in_flight=1)
    await queue(gateway, [song("a", n) for n in range(6)] + [song("b")])
    await eventually(partial(are, gateway, failed=3, queued=3, succeeded=1))
    assert [(one["model"], one["waiting"]) for one in await held(gateway)] == [("b", 3)]


@pytest.mark.parametrize("later_aliases", ["a=c", "x=a,a=c"])
async def test_what_waits_for_one_model_is_sent_as_the_next_that_is_named_in_its_place(
    database_url: str, start_sandbox: StartSandbox, later_aliases: str
) -> None:
    """The breaker that they waited for stays open: others may still be sent as that model."""
    sandbox = await start_sandbox(scale=2000, retired_models=["a", "b"])
    given: dict[str, Any] = {"tempolor_base_url": sandbox.base_url, "submit_max_in_flight": 1}
    first_aliases, held_model = {"a=c": ("a=b", "b"), "x=a,a=c": ("x=a", "a")}[later_aliases]
    async with running_gateway(database_url, **given, model_aliases=first_aliases) as gateway:
        ids = await queue(gateway, [song("a", n) for n in range(6)])
        await eventually(partial(are, gateway, failed=3, queued=3))
        assert [(one["model"], one["waiting"]) for one in await held(gateway)] == [(held_model, 3)]
    async with running_gateway(database_url, **given, model_aliases=later_aliases) as gateway:
        for task_id in ids[3:]:
            assert (await gateway.until(task_id, "succeeded"))["submitted_model"] == "c"
        assert [(one["model"], one["waiting"]) for one in await held(gateway)] == [(held_model, 0)]


async def test_what_is_parked_comes_due_by_itself_where_nobody_holds_it(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    """As beside a release that knows nothing of holds."""
    sandbox = await start_sandbox(scale=2000, retired_models=[GONE])
    gateway = await start_gateway(sandbox, submit_max_in_flight=1)
    await queue(gateway, [song(GONE, n) for n in range(5)])
    await eventually(partial(waiting, gateway, 2))

    def due(conn: sa.Connection) -> Sequence[Any]:
        columns = tables.tasks.c
        return conn.execute(sa.select(columns.dispatch_due_at).where(columns.parked_as.is_not(None))).scalars().all()

    now = gateway.gateway.context.clock.now()
    found = await gateway.gateway.context.db.read(due)
    assert len(found) == 2
    assert all(3000 < (at - now).total_seconds() <= 3600 for at in found)


async def test_breakers_are_bounded_and_those_that_hold_outlast_the_others(start_gateway: StartGateway) -> None:
    """Clients name models freely."""
    gateway = await start_gateway(workers=False)
    context = gateway.gateway.context

    def fill(conn: sa.Connection) -> tuple[dict[ModelKey, Breaker], Any]:
        at = context.clock.now()
        for n in range(3 * breaker_rows.MOST):
            held_since = at if n % 3 == 0 else None
            breaker = Breaker(1, later(at, n), "model_not_offered", "", held_since, held_since)
            breaker_rows.save(conn, ModelKey("song.generate", f"m{n}"), breaker)
        return breaker_rows.find_open(conn), conn.scalar(sa.select(sa.func.count()).select_from(tables.model_breakers))

    found, count = await context.db.write(fill)
    assert count == breaker_rows.MOST
    assert {key.model for key in found} == {f"m{n}" for n in range(0, 3 * breaker_rows.MOST, 3)}
    shown = await held(gateway)
    assert len(shown) == breaker_rows.MOST
    await gateway.gateway.health.survey()
    series = [one.labels for metric in model_held_tasks.collect() for one in metric.samples]
    assert len(series) == 21, "twenty, and the others together"
    assert {"kind": "other", "model": "other"} in series


async def test_a_canceled_task_is_no_probe(start_gateway: StartGateway, start_sandbox: StartSandbox) -> None:
    sandbox, clock = await start_sandbox(scale=2000, retired_models=["*"]), ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock, submit_max_in_flight=1)
    ids = await queue(gateway, [song(OTHER, n) for n in range(4)])
    await eventually(partial(waiting, gateway, 1))
    assert (await gateway.api.post(f"/v1/tasks/{ids[-1]}/cancel")).json()["status"] == "canceled"
    assert (await held(gateway))[0]["waiting"] == 0
    change(sandbox, retired_models=[])
    clock.skip(61)
    await asyncio.sleep(0.5)
    assert len(submissions(sandbox)) == 3
    assert (await gateway.until((await gateway.submit())["id"], "succeeded"))["error"] is None
