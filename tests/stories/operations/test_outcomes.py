"""How items ended, as the metrics tell it: lost callbacks beside those that came, lag, and questions saved."""

import re
from uuid import UUID

from app.runtime.metrics import registry
from tests.support.databases import on_sqlite
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running
from tests.support.song_callbacks import done, song
from tests.support.start_fixtures import StartGateway, StartSandbox
from tests.support.virtual_time import monotonic


def value(name: str, **labels: str) -> float:
    """What a metric shows now; the registry is the process's, so tests compare."""
    metrics = registry.restricted_registry([name]).collect()
    return next((one.value for metric in metrics for one in metric.samples if one.labels == labels), 0.0)


def ended(by: str, kind: str = "lyrics.generate") -> float:
    return value("gateway_items_ended_total", kind=kind, by=by)


async def test_lost_callbacks_are_counted(start_gateway: StartGateway, start_sandbox: StartSandbox) -> None:
    sandbox = await start_sandbox(scale=300, callbacks={"drop": 1})
    gateway = await start_gateway(sandbox, query_first_after_s=0.3, query_interval_s=0.2, query_rate_per_s=20)
    before = ended("query"), ended("callback"), value("gateway_callbacks_lost_total", kind="lyrics.generate")
    saved, asked = (
        value("gateway_queries_saved_total", family="lyrics"),
        value("gateway_queried_items_total", family="lyrics"),
    )
    made = [await gateway.submit("lyrics.generate") for _ in range(2)]
    tasks = [await gateway.until(one["id"], "succeeded") for one in made]
    lost = value("gateway_callbacks_lost_total", kind="lyrics.generate") - before[2]
    assert lost == sum(len(one["items"]) for one in tasks)
    assert ended("query") - before[0] == lost
    assert ended("callback") == before[1]
    assert value("gateway_queries_saved_total", family="lyrics") == saved
    assert value("gateway_queried_items_total", family="lyrics") > asked


@on_sqlite
async def test_an_item_that_ended_by_its_callback_saved_a_question(gateway: Running) -> None:
    kind = "song.generate"
    before = ended("callback", kind), value("gateway_callbacks_lost_total", kind=kind)
    saved = value("gateway_queries_saved_total", family="song")
    task_id = UUID((await gateway.submit())["id"])
    for _ in range(2):  # a repeat, and a word after the end, count for nothing
        await gateway.call_back("song", done("t2m_1"), task_id)
    await gateway.call_back("song", song("t2m_1", title="Another"), task_id)
    assert ended("callback", kind) == before[0] + 1
    assert value("gateway_callbacks_lost_total", kind=kind) == before[1]
    assert value("gateway_queries_saved_total", family="song") == saved + 1


async def test_an_end_that_a_refresh_found_early_is_no_lost_callback(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=300, callbacks={"drop": 1})
    gateway = await start_gateway(sandbox, query_first_after_s=600, query_rate_per_s=50)
    before = ended("early_query"), value("gateway_callbacks_lost_total", kind="lyrics.generate")
    task = await gateway.submit("lyrics.generate")
    await gateway.until(task["id"], "running")
    end = monotonic() + 15
    while (await gateway.api.post(f"/v1/tasks/{task['id']}/refresh")).json().get("status") != "succeeded":
        assert monotonic() < end
    assert ended("early_query") == before[0] + 1
    assert value("gateway_callbacks_lost_total", kind="lyrics.generate") == before[1]


LAG = "gateway_convergence_lag_seconds"


async def lag_of(gateway: Running, number: int, finished_at: object) -> tuple[float, ...]:
    """What a song that says it finished then adds to the lag: its count and seconds, and how often it is rejected."""

    def now() -> tuple[float, ...]:
        counted = value(f"{LAG}_count", by="callback"), value(f"{LAG}_sum", by="callback")
        return *counted, value("gateway_convergence_lag_rejected_total")

    before = now()
    body = done(f"t2m_{number}", finished_at=finished_at)
    await gateway.call_back("song", body, UUID((await gateway.submit())["id"]))
    return tuple(after - earlier for after, earlier in zip(now(), before, strict=True))


@on_sqlite
async def test_the_lag_is_held_against_the_vendors_clock(gateway: Running, clock: ScaledClock) -> None:
    for number, unit in enumerate((1, 1000)):
        good, ahead, old = [
            await lag_of(gateway, 3 * number + n, (clock.now().timestamp() - ago_s) * unit)
            for n, ago_s in enumerate((7.0, -30.0, 4000.0))
        ]
        assert (good[0], good[2]) == (1, 0), unit
        assert 7 <= good[1] < 8, unit
        assert (ahead[0], ahead[2]) == (old[0], old[2]) == (0, 1), unit


@on_sqlite
async def test_a_time_that_is_none_is_no_lag(gateway: Running) -> None:
    for number, nonsense in enumerate((None, "soon", 0, -5, True)):
        assert await lag_of(gateway, number, nonsense) == (0, 0, 0), nonsense


@on_sqlite
async def test_every_metric_is_ours_and_its_labels_are_bounded(gateway: Running) -> None:
    for number in range(5):
        await gateway.call_back("song", done(f"t2m_{number}"), UUID((await gateway.submit())["id"]))
    text = (await gateway.api.get("/metrics")).text
    names = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert [name for name in names if not name.startswith("gateway_")] == []
    assert "t2m_" not in text
    labels = set(re.findall(r'[{,](\w+)="', text))
    allowed = {"family", "disposition", "kind", "by", "fault", "le", "answer", "outcome", "operation", "code"}
    assert labels <= allowed | {"status", "what", "reason", "loop", "setting", "sort", "table"} | {
        "method",
        "route",
        "client",
        "version",
        "python",
    }
