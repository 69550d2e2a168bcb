"""How items ended, as the metrics tell it: lost callbacks beside those that came, lag, and questions saved."""

import re
from datetime import timedelta
from uuid import UUID

import pytest

from app.telemetry.metrics import registry
from tests.support.bodies import done, song
from tests.support.databases import on_sqlite
from tests.support.virtual_time import monotonic, utc_now


def value(name: str, **labels: str) -> float:
    """What a metric shows now; the registry is the process's, so tests compare."""
    return registry.get_sample_value(name, labels) or 0.0


def ended(by: str, kind: str = "lyrics.generate") -> float:
    return value("gateway_items_ended_total", kind=kind, by=by)


async def test_lost_callbacks_are_counted(start_gateway, start_sandbox):
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
async def test_an_item_that_ended_by_its_callback_saved_a_question(start_gateway):
    gateway = await start_gateway()
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


async def test_an_end_that_a_refresh_found_early_is_no_lost_callback(start_gateway, start_sandbox):
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


@on_sqlite
@pytest.mark.parametrize("unit", [1, 1000])
@pytest.mark.parametrize("ago_s", [7.0, -30.0, 4000.0])
async def test_the_lag_is_held_against_the_vendors_clock(start_gateway, unit, ago_s):
    gateway = await start_gateway()
    name = "gateway_convergence_lag_seconds"
    before = value(f"{name}_sum", by="callback"), value(f"{name}_count", by="callback")
    rejected = value("gateway_convergence_lag_rejected_total")
    finished = (utc_now() - timedelta(seconds=ago_s)).timestamp() * unit
    await gateway.call_back("song", done("t2m_1", finished_at=finished), UUID((await gateway.submit())["id"]))
    count = value(f"{name}_count", by="callback") - before[1]
    if ago_s == 7.0:
        assert count == 1
        assert 7 <= value(f"{name}_sum", by="callback") - before[0] < 30
    else:
        assert count == 0
        assert value("gateway_convergence_lag_rejected_total") == rejected + 1


@on_sqlite
@pytest.mark.parametrize("nonsense", [None, "soon", 0, -5, True])
async def test_a_time_that_is_none_is_no_lag(start_gateway, nonsense):
    gateway = await start_gateway()
    names = ("gateway_convergence_lag_seconds_count", "gateway_convergence_lag_rejected_total")
    before = value(names[0], by="callback"), value(names[1])
    await gateway.call_back("song", done("t2m_1", finished_at=nonsense), UUID((await gateway.submit())["id"]))
    assert (value(names[0], by="callback"), value(names[1])) == before


@on_sqlite
async def test_every_metric_is_ours_and_its_labels_are_bounded(start_gateway):
    gateway = await start_gateway()
    for number in range(5):
        await gateway.call_back("song", done(f"t2m_{number}"), UUID((await gateway.submit())["id"]))
    text = (await gateway.api.get("/metrics")).text
    names = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert [name for name in names if not name.startswith("gateway_")] == []
    assert "t2m_" not in text
    labels = set(re.findall(r'[{,](\w+)="', text))
    allowed = {"family", "disposition", "kind", "by", "fault", "le", "answer", "outcome", "operation", "code"}
    assert labels <= allowed | {"status", "what", "reason", "loop", "setting", "sort", "table"}
