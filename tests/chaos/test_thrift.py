"""Queries are not wasted (G4), and suffice alone (G3): what it costs, and how long it takes, when every callback is
lost. The intervals are kept equal here, so that the promise can be told in them: a task ends within two query
intervals of its end at the vendor, and no call is made with less than ten items while others are due."""

import asyncio
import itertools
import math
import statistics
from collections import Counter
from datetime import datetime
from typing import Any

from app.sandbox.calls import Call
from app.sandbox.state import Sandbox
from tests.chaos.conftest import Tell
from tests.chaos.processes import pages
from tests.chaos.truth import FINAL
from tests.support.gateway import Running
from tests.support.start_fixtures import StartGateway, StartSandbox

TASKS = 60
INTERVAL_S = 3.0
RATE_PER_S = 20
FIRST_AFTER_S = 2.0


def queries(sandbox: Sandbox) -> list[Call]:
    return [call for call in sandbox.calls if call.operation == "query"]


async def run_all(gateway: Running, kind: str) -> list[dict[str, Any]]:
    """Submit all the tasks, and wait until they have ended; their ids with what the vendor was asked for them."""
    tasks: list[dict[str, Any]] = []
    while len(tasks) < TASKS:
        tasks += await asyncio.gather(*(gateway.submit(kind) for _ in range(10)))
    for task in tasks:
        await gateway.until(task["id"], *FINAL, timeout_s=60)
    ended = {task["id"]: task async for task in pages(gateway.api, "/v1/tasks")}
    return [ended[task["id"]] for task in tasks]


def lateness_s(sandbox: Sandbox, tasks: list[dict[str, Any]]) -> list[float]:
    """For each task, how long after its end at the vendor it ended for us."""
    vendor = {item.item_id: item.ended_at for work in sandbox.works for item in work.items}
    return [
        datetime.fromisoformat(task["finished_at"]).timestamp() - vendor[task["items"][0]["item_id"]] for task in tasks
    ]


async def test_without_any_callback_tasks_end_within_two_intervals_at_full_calls(
    start_gateway: StartGateway, start_sandbox: StartSandbox, tell: Tell
) -> None:
    """A song takes three intervals here; the vendor's works end within half an interval of each other."""
    sandbox = await start_sandbox(scale=20, callbacks={"drop": 1}, durations={"jitter": 0.05})
    gateway = await start_gateway(
        sandbox,
        submit_max_in_flight=TASKS,
        query_first_after_s=FIRST_AFTER_S,
        query_interval_s=INTERVAL_S,
        query_max_interval_s=INTERVAL_S,
        query_rate_per_s=RATE_PER_S,
    )
    tasks = await run_all(gateway, "song.generate")
    assert {task["status"] for task in tasks} == {"succeeded"}
    late = lateness_s(sandbox, tasks)
    assert max(late) <= 2 * INTERVAL_S
    calls = sorted(queries(sandbox), key=lambda call: call.at)
    asked = Counter(item_id for call in calls for item_id in call.item_ids)
    rounds = max(asked.values())
    # Chance spreads what is due over two fifths of an interval, and a call is filled with what is due within one: so a
    # round may end in one more call that is not full.
    assert len(calls) <= rounds * (math.ceil(TASKS / 10) + 1)
    all_known_at = max(work.accepted_at for work in sandbox.works) + FIRST_AFTER_S
    for one, following in itertools.pairwise(call for call in calls if call.at > all_known_at):
        # Half of that fifth is left for the time that a call is under way.
        assert len(one.item_ids) == 10 or following.at - one.at > INTERVAL_S / 10
    # No round is made in vain: intervals are shortened by a fifth of chance, and by a fifth to fill calls, at most.
    longest_s = max(work.ended_at - work.accepted_at for work in sandbox.works)
    assert rounds <= 1 + math.ceil((longest_s + max(late) - FIRST_AFTER_S) / (0.6 * INTERVAL_S))
    tell(
        f"{TASKS} songs of {longest_s:.1f} s without callbacks, asked every {INTERVAL_S:g} s: {len(calls)} calls, "
        f"{len(calls) / TASKS:.2f} a task, {sum(asked.values()) / len(calls):.1f} items a call, {rounds} rounds; ended "
        f"{statistics.median(late):.2f} s (median), {max(late):.2f} s (most) after the vendor's end"
    )
