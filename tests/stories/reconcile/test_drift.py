"""What nobody knew is gathered, flushed, added up over replicas, bounded, forgotten, and shown to admins."""

from datetime import UTC, datetime, timedelta

import pytest

from app.drift import log as stored
from app.drift.log import MOST_PENDING, OTHERS, Drift, listed
from app.tempolor.drift import DriftKind, Finding
from tests.support.commands import call, environment
from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.drift import told
from tests.support.gateway import Running
from tests.support.start_fixtures import StartGateway, StartSandbox

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def _field(name: str, family: str = "song") -> Finding:
    return Finding(DriftKind.FIELD, family, name)


async def test_what_the_vendor_says_anew_is_kept_and_shown(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=200, durations={"jitter": 0})
    sandbox.add_rules(
        answers=[
            {"operation": "submit", "prompt": "empty", "status": 402001, "message": "balance empty"},
            {"operation": "submit", "prompt": "flat", "form": "flat"},
        ],
        works=[{"odd_fields": True, "odd_status": "processing", "odd_event": "cover_complete"}],
    )
    gateway = await start_gateway(sandbox)
    for prompt in ("empty", "flat"):
        await gateway.submit(params={"prompt": prompt, "model": "tempolor-latest"})
    task = await gateway.submit()
    await gateway.until(task["id"], "succeeded", timeout_s=30)
    found = await told(gateway)
    assert {("field", "bpm"), ("field", "cover_url"), ("field", "tags_v2")} <= found.keys()
    assert ("code", "submit 402001") in found
    assert ("shape", "submit item_ids[]") in found
    assert ("network", "127.0.0.0/24") in found
    field = found["field", "bpm"]
    assert field["family"] == "song"
    assert field["count"] >= 1
    assert field["first_seen_at"] <= field["last_seen_at"]
    assert "gateway_drift_total{sort=" in (await gateway.api.get("/metrics")).text


async def test_only_so_many_names_are_kept_and_the_rest_is_counted(start_gateway: StartGateway) -> None:
    context = (await start_gateway(workers=False)).gateway.context
    heard = Drift(str, 90)
    heard.note([_field(f"f{n}") for n in range(MOST_PENDING + 50)], NOW)
    heard.note([Finding(DriftKind.EVENT, "song", "late")], NOW)
    await heard.flush(context.db, NOW)
    found = await listed(context.db)
    fields = [one for one in found if one["sort"] == "field"]
    assert len(fields) == stored.MOST_PER_SORT + 1
    assert sum(one["count"] for one in fields) == MOST_PENDING + 50
    # What came when there was no room even in memory is counted with its sort.
    assert [(one["name"], one["count"]) for one in found if one["sort"] == "event"] == [(OTHERS, 1)]
    heard.note([_field("f0"), _field("new")], NOW + timedelta(hours=1))
    await heard.flush(context.db, NOW)
    again = {one["name"]: one for one in await listed(context.db, "field")}
    assert again["f0"]["count"] == 2
    assert (again["f0"]["first_seen_at"], again["f0"]["last_seen_at"]) == (
        "2026-11-29T12:00:00.000000Z",
        "2026-11-29T13:00:00.000000Z",
    )
    assert "new" not in again


async def test_what_was_not_seen_for_long_makes_room(start_gateway: StartGateway) -> None:
    context = (await start_gateway(workers=False)).gateway.context
    heard = Drift(str, 90)
    for days in (0, 60, 100):
        heard.note([_field(f"day {days}")], NOW + timedelta(days=days))
        await heard.flush(context.db, NOW + timedelta(days=days))
    assert [one["name"] for one in await listed(context.db)] == ["day 100", "day 60"]


async def test_nothing_is_lost_where_the_database_is_away(start_gateway: StartGateway, db: Direct) -> None:
    context = (await start_gateway(workers=False)).gateway.context
    heard = Drift(str, 0)
    heard.note([_field("a"), _field("b")], NOW)
    await db.execute("ALTER TABLE drift RENAME TO elsewhere")
    with pytest.raises(Exception, match="drift"):
        await heard.flush(context.db, NOW)
    await db.execute("ALTER TABLE elsewhere RENAME TO drift")
    heard.note([_field("a")], NOW)
    await heard.flush(context.db, NOW)
    assert {one["name"]: one["count"] for one in await listed(context.db)} == {"a": 2, "b": 1}


@on_sqlite
async def test_the_command_lists_it(gateway: Running, database_url: str) -> None:
    context = gateway.gateway.context
    context.drift.note([_field("mood"), _field("mood"), Finding(DriftKind.CODE, "", "account 402001")], NOW)
    await context.drift.flush(context.db, NOW)
    listed_lines = await call("drift", env=environment(database_url))
    as_json = await call("drift", "--json", env=environment(database_url))
    at = "2026-11-29T12:00:00.000000Z"
    assert listed_lines.out.splitlines() == [
        f"code\t-\t1\t{at}\t{at}\taccount 402001",
        f"field\tsong\t2\t{at}\t{at}\tmood",
    ]
    assert '"next_cursor": null' in as_json.out


@on_sqlite
async def test_it_is_stored_also_where_everything_is_kept_for_longer_than_there_are_dates(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(workers=False, retention_days=400_000)
    context = gateway.gateway.context
    context.drift.note([_field("bpm")], context.clock.now())
    await context.drift.flush(context.db, context.clock.now())
    assert [row["name"] for row in await listed(context.db)] == ["bpm"]
