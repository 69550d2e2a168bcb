"""Requests by route and status, tasks by client, the balance, the build, the process: what `/metrics` shows of them."""

import asyncio
import re
import uuid

from app.tasks.after_commit import MOST_CLIENTS, note_client_tasks
from tests.support.databases import on_sqlite
from tests.support.gateway import Running
from tests.support.song_callbacks import done
from tests.support.start_fixtures import StartGateway, StartSandbox

pytestmark = on_sqlite


async def _values(gateway: Running, name: str) -> dict[str, float]:
    """Each series of a metric, by its labels as they are written."""
    text = (await gateway.api.get("/metrics")).text
    return {one[1]: float(one[2]) for one in re.finditer(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)}


async def test_requests_are_counted_by_method_route_and_status(gateway: Running) -> None:
    before = await _values(gateway, "gateway_requests_total")
    task = await gateway.submit()
    for path in (f"/v1/tasks/{task['id']}", f"/v1/tasks/{uuid.uuid4()}", "/v1/tasks?limit=0", "/no/such/thing"):
        await gateway.api.get(path)
    await gateway.api.get(f"/v1/tasks/{task['id']}?wait=5")
    await gateway.api.request("PROPFIND", "/v1/tasks")
    await gateway.call_back("song", done(), uuid.UUID(task["id"]))
    await gateway.api.post("/callbacks/song/wrong", json={})
    after = await _values(gateway, "gateway_requests_total")
    new = {labels: count - before.get(labels, 0) for labels, count in after.items() if count != before.get(labels, 0)}
    assert new == {
        'method="GET",route="/metrics",status="200"': 1,
        'method="POST",route="/v1/tasks",status="202"': 1,
        'method="GET",route="/v1/tasks/{task_id}",status="200"': 1,
        'method="GET",route="/v1/tasks/{task_id}",status="404"': 1,
        'method="GET",route="/v1/tasks",status="422"': 1,
        'method="GET",route="unknown",status="404"': 1,
        'method="GET",route="/v1/tasks/{task_id}?wait",status="200"': 1,
        'method="other",route="/v1/tasks",status="405"': 1,
        'method="POST",route="/callbacks/{family}/{token}",status="200"': 1,
        'method="POST",route="/callbacks/{family}/{token}",status="403"': 1,
    }
    counted = await _values(gateway, "gateway_request_seconds_count")
    assert {'route="/v1/tasks"', 'route="/v1/tasks/{task_id}?wait"'} <= counted.keys()


async def test_tasks_are_counted_by_client_and_the_series_are_bounded(gateway: Running) -> None:
    before = await _values(gateway, "gateway_client_tasks_total")
    task = await gateway.submit()
    await gateway.call_back("song", done(), uuid.UUID(task["id"]))
    await gateway.call_back("song", done(), uuid.UUID(task["id"]))
    other = await gateway.submit()
    await gateway.api.post(f"/v1/tasks/{other['id']}/cancel")
    after = await _values(gateway, "gateway_client_tasks_total")
    new = {labels: count - before.get(labels, 0) for labels, count in after.items() if count != before.get(labels, 0)}
    assert new == {
        'client="bootstrap",outcome="accepted"': 2,
        'client="bootstrap",outcome="succeeded"': 1,
        'client="bootstrap",outcome="canceled"': 1,
    }
    for number in range(2 * MOST_CLIENTS):
        note_client_tasks(f"client-{number}", "accepted")
    clients = {
        re.findall(r'client="([^"]*)"', labels)[0] for labels in await _values(gateway, "gateway_client_tasks_total")
    }
    assert len(clients) == MOST_CLIENTS + 1
    assert "(others)" in clients


async def test_the_build_and_the_process_are_named_as_all_else(gateway: Running) -> None:
    [labels] = await _values(gateway, "gateway_build_info")
    assert re.fullmatch(r'python="3\.\d+\.\S+",version="\d\S+"', labels)
    text = (await gateway.api.get("/metrics")).text
    assert "\ngateway_process_resident_memory_bytes " in text
    assert [line for line in text.splitlines() if not re.match(r"(# (HELP|TYPE) )?gateway_", line)] == []


async def test_the_balance_is_read_every_quarter_of_an_hour_and_shown(
    start_sandbox: StartSandbox, start_gateway: StartGateway
) -> None:
    sandbox = await start_sandbox(balance=776.5)
    gateway = await start_gateway(sandbox)
    await asyncio.sleep(5)
    assert not sandbox.calls
    assert await gateway.gateway.services.account.watch() == 900
    assert [call.operation for call in sandbox.calls] == ["account"]
    assert await _values(gateway, "gateway_vendor_balance_points") == {None: 776.5}
