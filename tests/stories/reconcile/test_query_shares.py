"""Who gets the permits to ask: however many refreshes and unknown ids wait, what is due has every second one, and
the clients' refreshes take turns."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.database.tables import items
from app.reconcile.ask import note_in_limits
from app.reconcile.claims import claim
from app.sandbox.state import Sandbox
from app.tempolor.answers import Unanswered
from tests.support.gateway import Running, eventually
from tests.support.song_callbacks import assert_problem, song
from tests.support.start_fixtures import StartGateway, StartSandbox
from tests.support.virtual_time import utc_now

FAR = datetime(2100, 1, 1, tzinfo=UTC)
"""Due at no time that a test reaches."""


async def _named(gateway: Running, family: str, item_ids: list[str]) -> None:
    """Items that somebody else submitted, known by a callback."""
    listed = {"song": "songs", "lyrics": "lyrics", "midi": "midi"}[family]
    for start in range(0, len(item_ids), 50):
        some = [song(item_id)["songs"][0] for item_id in item_ids[start : start + 50]]
        answer = await gateway.call_back(family, {listed: some})
        assert answer.text == "success", answer.text


async def _due(gateway: Running, family: str, at: datetime) -> None:
    """All items of a family are due at a time."""
    change = items.update().where(items.c.family == family).values(query_due_at=at)
    await gateway.gateway.context.db.write(lambda conn: conn.execute(change))


class Permits:
    """One permit a second, claimed by whoever the test says."""

    def __init__(self, gateway: Running) -> None:
        self.context = gateway.gateway.context
        self.now = utc_now() + timedelta(minutes=1)

    async def next(self, *wanted: Any) -> str | None:
        """The family that the next permit is spent on, None if nothing can be asked. ``wanted``: items of a refresh."""
        self.now += timedelta(seconds=1)
        known = dict.fromkeys(wanted) or None
        turn = await self.context.db.write(claim, self.context, self.now, known)
        return turn.question.family if turn.question else None


@pytest.fixture
async def quiet(start_gateway: StartGateway) -> Running:
    """Nothing is asked but by the test's claims."""
    return await start_gateway(workers=False, query_rate_per_s=1, query_interval_s=1000)


async def test_refreshes_get_every_second_permit_while_something_is_due_and_then_all(quiet: Running) -> None:
    await _named(quiet, "song", [f"s{n}" for n in range(50)])
    await _named(quiet, "lyrics", [f"l{n}" for n in range(8)])
    permits = Permits(quiet)
    await _due(quiet, "song", permits.now)
    await _due(quiet, "lyrics", FAR)
    # Refreshes alone come to claim, as if they won every race and no reconciler ran.
    waiting, got = [("lyrics", f"l{n}") for n in range(8)], []
    while waiting:
        got.append(await permits.next(waiting[0]))
        if got[-1] == "lyrics":
            waiting.pop(0)
    assert got == ["lyrics", "song"] * 5 + ["lyrics"] * 3
    assert await permits.next() is None


async def test_ids_that_nobody_knows_get_every_second_permit_while_something_else_is_due(quiet: Running) -> None:
    for start in range(0, 100, 50):
        ids = [f"junk{n}" for n in range(start, start + 50)]
        answer = await quiet.api.post("/v1/tasks/adopt", json={"family": "midi", "item_ids": ids})
        assert answer.status_code == 202
    await _named(quiet, "song", [f"s{n}" for n in range(30)])
    permits = Permits(quiet)
    # The unknown ones are the most overdue by far.
    await _due(quiet, "midi", permits.now - timedelta(minutes=1))
    await _due(quiet, "song", permits.now)
    got = [await permits.next() for _ in range(13)]
    assert got == ["midi", "song"] * 3 + ["midi"] * 7
    assert await permits.next() is None


async def test_refreshes_and_unknown_ids_together_get_no_more(quiet: Running) -> None:
    ids = [f"junk{n}" for n in range(40)]
    assert (await quiet.api.post("/v1/tasks/adopt", json={"family": "midi", "item_ids": ids})).status_code == 202
    await _named(quiet, "song", [f"s{n}" for n in range(40)])
    await _named(quiet, "lyrics", [f"l{n}" for n in range(20)])
    permits = Permits(quiet)
    await _due(quiet, "midi", permits.now - timedelta(minutes=1))
    await _due(quiet, "song", permits.now)
    await _due(quiet, "lyrics", FAR)
    waiting, got = [("lyrics", f"l{n}") for n in range(20)], []
    # A reconciler and a refresh come in turns, at the worst beat for what is due.
    for turn in range(16):
        got.append(await permits.next(*([waiting[0]] if turn % 3 else [])))
        if got[-1] == "lyrics":
            waiting.pop(0)
    last = max(place for place, family in enumerate(got) if family == "song")
    assert got.count("song") == 4
    assert last <= 2 * 4
    # Unknown ids are due too: refreshes alone do not starve them.
    assert got.count("midi") == 4


async def test_what_asks_for_nothing_leaves_the_turns_as_they_are(quiet: Running) -> None:
    """A claim that finds nothing, and an answer that makes everybody wait."""
    await _named(quiet, "lyrics", ["l0", "l1"])
    permits = Permits(quiet)
    await _due(quiet, "lyrics", FAR)
    assert await permits.next(("lyrics", "l0")) == "lyrics"
    assert await permits.next(("lyrics", "l0")) is None
    context = permits.context
    await context.db.write(note_in_limits, Unanswered("busy", retry_after_s=0.1), permits.now)
    await _named(quiet, "song", ["s0"])
    await _due(quiet, "song", permits.now)
    assert [await permits.next(("lyrics", "l1")) for _ in range(2)] == ["song", "lyrics"]


def _asked(sandbox: Sandbox) -> list[Any]:
    return [call.item_ids[0] for call in sandbox.calls if call.operation == "query"]


async def test_a_client_that_refreshes_without_end_delays_what_is_due_by_few_permits(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=0.1, callbacks={"drop": 1}, unknown_items="omit")
    gateway = await start_gateway(sandbox, query_first_after_s=10_000, query_interval_s=5_000, query_rate_per_s=8)
    await _named(gateway, "lyrics", [f"l{n}" for n in range(12)])
    tasks = (await gateway.api.get("/v1/tasks", params={"limit": 12})).json()["data"]
    await _named(gateway, "song", [f"s{n}" for n in range(50)])
    await _due(gateway, "song", FAR)

    async def hammer(task_id: Any) -> None:
        while True:
            answer = await gateway.api.post(f"/v1/tasks/{task_id}/refresh")
            assert answer.status_code in (200, 503), answer.text

    hammers = [asyncio.create_task(hammer(task["id"])) for task in tasks]
    try:
        await eventually(lambda: _is(len(_asked(sandbox)) > 4))
        await _due(gateway, "song", utc_now())
        before = len(_asked(sandbox))

        async def all_asked() -> bool:
            return sum(one[0] == "s" for one in _asked(sandbox)) == 5

        await eventually(all_asked, 20)
        later = _asked(sandbox)[before:]
        last = max(place for place, one in enumerate(later) if one[0] == "s")
        # Five questions, a refresh before each, and those that were under way when they became due.
        assert last <= 5 * 2 + 2, later
    finally:
        for one in hammers:
            one.cancel()
        await asyncio.gather(*hammers, return_exceptions=True)
    assert sandbox.truth()["items_queried_at_once"] <= 1


async def test_another_clients_refresh_comes_before_the_next_of_one_that_refreshes_without_end(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=0.1, callbacks={"drop": 1}, unknown_items="omit")
    gateway = await start_gateway(
        sandbox, workers=False, query_first_after_s=10_000, query_interval_s=5_000, query_rate_per_s=5
    )
    made = (await gateway.api.post("/v1/clients", json={"name": "studio"})).json()
    await gateway.api.post("/v1/tasks/adopt", json={"family": "song", "item_ids": ["t2m_a"], "client": "studio"})
    await gateway.call_back("song", song("t2m_a"))
    [own] = (await gateway.api.get("/v1/tasks", params={"client": "studio"})).json()["data"]
    await _named(gateway, "lyrics", [f"l{n}" for n in range(12)])
    await _due(gateway, "song", FAR)
    tasks = (await gateway.api.get("/v1/tasks", params={"client": "external"})).json()["data"]
    assert len(tasks) == 12
    paths = [f"/v1/tasks/{task['id']}/refresh" for task in tasks]
    hammers = [asyncio.create_task(gateway.api.post(path)) for path in paths]
    try:
        await eventually(lambda: _is(len(_asked(sandbox)) > 1))
        before = len(_asked(sandbox))
        answer = await gateway.api.post(
            f"/v1/tasks/{own['id']}/refresh", headers={"Authorization": f"Bearer {made['api_key']}"}
        )
        assert answer.status_code == 200, answer.text
        # One was in front, one may have been under way.
        assert _asked(sandbox)[before:].index("t2m_a") <= 2
    finally:
        for one in hammers:
            one.cancel()
        await asyncio.gather(*hammers, return_exceptions=True)


@pytest.mark.parametrize("answered", [True, False])
async def test_refreshes_of_one_task_at_a_time_share_a_question_and_what_comes_of_it(
    start_gateway: StartGateway, start_sandbox: StartSandbox, answered: bool
) -> None:
    """Also where nothing comes of it: twenty callers do not ask a vendor that does not answer twenty times."""
    # A refusal, as of an item that it does not know, would come at once.
    sandbox = await start_sandbox(scale=0.1, callbacks={"drop": 1}, unknown_items="omit")
    # Late, so that all twenty have come before the vendor answers the first.
    fault = {} if answered else {"http_status": 500}
    sandbox.add_rules(answers=[{"operation": "query", "delay_s": 1, "times": None, **fault}])
    gateway = await start_gateway(sandbox, workers=False, query_first_after_s=10_000, query_rate_per_s=20)
    await _named(gateway, "lyrics", ["l0"])
    task = (await gateway.api.get("/v1/items/l0")).json()
    path = f"/v1/tasks/{task['id']}/refresh"
    answers = await asyncio.gather(*(gateway.api.post(path) for _ in range(20)))
    assert len(_asked(sandbox)) == 1
    for answer in answers:
        if answered:
            assert answer.status_code == 200, answer.text
        else:
            assert_problem(answer, 503, "not_refreshed")
    # The next one asks anew.
    await gateway.api.post(path)
    assert len(_asked(sandbox)) == 2


async def test_a_client_has_few_refreshes_open_and_the_rest_are_told_to_come_later(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=0.1, callbacks={"drop": 1}, unknown_items="omit")
    gateway = await start_gateway(sandbox, workers=False, query_first_after_s=10_000, query_rate_per_s=0.1)
    await _named(gateway, "lyrics", [f"l{n}" for n in range(70)])
    tasks = (await gateway.api.get("/v1/tasks", params={"limit": 70})).json()["data"]
    asking = [asyncio.create_task(gateway.api.post(f"/v1/tasks/{task['id']}/refresh")) for task in tasks]

    async def refused() -> list[Any]:
        ended = [one.result() for one in asking if one.done()]
        return [answer for answer in ended if answer.status_code == 503]

    async def enough() -> bool:
        return len(await refused()) >= 15

    await eventually(enough)
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in await refused())
    assert {answer.json()["code"] for answer in await refused()} == {"unavailable"}
    for one in asking:
        one.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


async def _is(value: Any) -> Any:
    return value
