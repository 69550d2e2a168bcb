"""What those who run the gateway look at: health, backlog, metrics, the account, the API's description."""

import asyncio
import re
from uuid import UUID

import pytest

from app.errors import VendorFailed
from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.gateway import ADMIN_KEY, SECRET, Running, eventually
from tests.support.silent_vendor import speaking
from tests.support.song_callbacks import assert_problem, done, song
from tests.support.start_fixtures import StartGateway, StartSandbox
from tests.support.virtual_time import monotonic

RELIED_ON = (
    "gateway_callbacks_total",
    "gateway_queries_total",
    "gateway_notifications_total",
    "gateway_tasks",
    "gateway_loop_heartbeat_age_seconds",
    "gateway_vendor_calls_total",
)


async def _metrics(gateway: Running) -> str:
    answer = await gateway.api.get("/metrics", headers={"Authorization": ""})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.text


@on_sqlite
async def test_the_account_is_asked_for_once_a_minute(start_gateway: StartGateway, start_sandbox: StartSandbox) -> None:
    sandbox = await start_sandbox(balance=776.56)
    gateway = await start_gateway(sandbox)
    answers = await asyncio.gather(*(gateway.api.get("/v1/account") for _ in range(10)))
    assert [answer.status_code for answer in answers] == [200] * 10
    assert {answer.json()["balance"] for answer in answers} == {776.56}
    assert (await gateway.api.get("/v1/account")).json() == answers[0].json()
    assert [call.operation for call in sandbox.calls] == ["account"]


@on_sqlite
async def test_an_account_that_cannot_be_read_is_no_500_and_shows_no_key(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox()
    sandbox.add_rules(
        answers=[{"operation": "account", "status": 400002}, {"operation": "account", "garbage": "html_502"}]
    )
    gateway = await start_gateway(sandbox)
    for _ in range(2):
        answer = await gateway.api.get("/v1/account")
        assert answer.status_code in (502, 503)
        assert_problem(answer, answer.status_code)
        assert sandbox.config.api_key not in answer.text
    # A failure is not remembered.
    assert (await gateway.api.get("/v1/account")).status_code == 200


@on_sqlite
async def test_one_call_for_the_account_answers_all_who_wait_for_it(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(balance=776.56)
    sandbox.add_rules(answers=[{"operation": "account", "hang_s": 600}, {"operation": "account", "delay_s": 10}])
    account = (await start_gateway(sandbox)).gateway.services.account
    began = monotonic()
    # The vendor hangs: it is one call that all of them wait for.
    assert [type(one) for one in await asyncio.gather(*(account.get() for _ in range(5)), return_exceptions=True)] == [
        VendorFailed
    ] * 5
    assert monotonic() - began == pytest.approx(20, abs=0.1)
    assert len(sandbox.calls) == 1
    # One of them goes away, the first of all; the others have their answer.
    first, *others = (asyncio.create_task(account.get()) for _ in range(5))
    await asyncio.sleep(5)
    first.cancel()
    assert [one["balance"] for one in await asyncio.gather(*others)] == [776.56] * 4
    assert first.cancelled()
    assert len(sandbox.calls) == 2


@on_sqlite
@pytest.mark.real_time
async def test_a_balance_that_comes_as_a_text_is_a_number(start_gateway: StartGateway) -> None:
    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _heard: bytearray) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"status": 200000, "message": "success", "request_id": "r", "data": {"balance": "776.56"}}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    async with speaking(tell) as (port, _):
        gateway = await start_gateway(workers=False, tempolor_base_url=f"http://127.0.0.1:{port}")
        shown = (await gateway.api.get("/v1/account")).json()
    assert (shown["balance"], shown["vendor"]) == (776.56, {"balance": "776.56"})


async def test_healthy_and_ready_and_nothing_stuck(gateway: Running) -> None:
    assert (await gateway.api.get("/healthz")).status_code == 200
    ready = await gateway.api.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    assert (await gateway.api.get("/backlog")).status_code == 200


async def test_a_load_balancer_may_ask_for_the_head_alone(gateway: Running, db: Direct) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await gateway.api.head(path)
        assert (answer.status_code, answer.content) == (200, b"")
    await db.execute("UPDATE alembic_version SET version_num = 'an older one'")
    assert (await gateway.api.head("/readyz")).status_code == 503


async def test_not_ready_on_a_schema_that_is_not_at_head(gateway: Running, db: Direct) -> None:
    await db.execute("UPDATE alembic_version SET version_num = 'an older one'")
    assert (await gateway.api.get("/readyz")).status_code == 503
    assert (await gateway.api.get("/healthz")).status_code == 200


async def test_the_backlog_tells_overdue_queries(gateway: Running, db: Direct) -> None:
    await gateway.call_back("song", song("t2m_1"), UUID((await gateway.submit())["id"]))
    assert (await gateway.api.get("/backlog")).status_code == 200
    await db.execute("UPDATE items SET query_due_at = '2020-01-01 00:00:00'")
    answer = await gateway.api.get("/backlog")
    assert answer.status_code == 503
    assert answer.json()["overdue_queries"] == 1


async def test_metrics_have_the_names_that_others_rely_on(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=300, callbacks={"drop": 1})
    gateway = await start_gateway(sandbox, query_first_after_s=0.2, query_interval_s=0.2, query_rate_per_s=20)
    task = await gateway.submit("lyrics.generate")
    await gateway.until(task["id"], "succeeded")
    await gateway.submit()
    await gateway.call_back("song", song("t2m_1"))
    await gateway.api.post("/callbacks/song/no-such-token", json=song())

    async def with_all() -> str | None:
        text = await _metrics(gateway)
        names = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
        return text if {*RELIED_ON} <= names | {f"{name}_total" for name in names} else None

    text = await eventually(with_all, 5)
    samples = [line.partition(" ")[0] for line in text.splitlines() if line and not line.startswith("#")]
    assert [name for name in samples if not name.startswith("gateway_")] == []
    assert re.search(r'^gateway_callbacks_total\{.*family="song".*\} [1-9]', text, re.MULTILINE)
    assert re.search(r'^gateway_queries_total\{.*family="lyrics".*\} [1-9]', text, re.MULTILINE)
    assert re.search(r"^gateway_vendor_calls_total\{.*submit.*\} [1-9]", text, re.MULTILINE)
    assert re.search(r"^gateway_loop_heartbeat_age_seconds\{.*\} [0-9.e-]+$", text, re.MULTILINE)
    for secret in (ADMIN_KEY, SECRET, sandbox.config.api_key, "no-such-token", task["id"], "t2m_1"):
        assert secret not in text


@on_sqlite
async def test_made_up_families_do_not_grow_the_metrics(gateway: Running) -> None:
    for n in range(20):
        await gateway.api.post(f"/callbacks/invented{n}/{'A' * 52}", json={})
        await gateway.api.get(f"/v1/invented{n}")
    assert "invented" not in await _metrics(gateway)


@on_sqlite
async def test_the_api_describes_itself_and_the_vendors_callback(gateway: Running) -> None:
    document = (await gateway.api.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    paths = {
        ("/v1/tasks", "post"),
        ("/v1/tasks", "get"),
        ("/v1/tasks/{task_id}", "get"),
        ("/v1/tasks/{task_id}/timeline", "get"),
        ("/v1/tasks/batch", "post"),
        ("/v1/tasks/adopt", "post"),
        ("/v1/tasks/{task_id}/cancel", "post"),
        ("/v1/tasks/{task_id}/retry", "post"),
        ("/v1/tasks/{task_id}/refresh", "post"),
        ("/v1/account", "get"),
        ("/v1/callbacks", "get"),
        ("/v1/clients", "post"),
        ("/healthz", "get"),
        ("/readyz", "get"),
        ("/backlog", "get"),
        ("/metrics", "get"),
    }
    assert {(path, method) for path, method in paths if method not in document["paths"].get(path, {})} == set()
    callback = document["paths"]["/callbacks/{family}/{token}"]["post"]
    assert {"200", "400", "403", "413", "503"} <= callback["responses"].keys()
    # Every reference leads somewhere.
    references = set(re.findall(r"'\$ref': '#/components/schemas/([^']+)'", str(document)))
    assert references
    assert references <= document["components"]["schemas"].keys()
    submit = document["paths"]["/v1/tasks"]["post"]
    assert submit["requestBody"]["content"]["application/json"]["example"]["kind"] == "song.generate"
    assert {"202", "401", "422", "503"} <= submit["responses"].keys()
    assert any(one["name"].lower() == "idempotency-key" for one in submit["parameters"])
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    assert all(one.get("summary") for one in operations)
    assert len({one["operationId"] for one in operations}) == len(operations)


@on_sqlite
async def test_the_answers_are_what_the_description_says(gateway: Running) -> None:
    """The shapes in /openapi.json hold for real answers: no undocumented field, none missing."""
    document = (await gateway.api.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    task = await gateway.submit()
    await gateway.call_back("song", done("t2m_1"), UUID(task["id"]))
    shown = await gateway.task(task["id"])
    assert shown.keys() == schemas["Task"]["properties"].keys()
    assert shown["items"][0].keys() == schemas["Item"]["properties"].keys()
    [callback] = (await gateway.api.get("/v1/callbacks")).json()["data"]
    assert callback.keys() == schemas["LoggedCallback"]["properties"].keys()
    [client] = (await gateway.api.get("/v1/clients")).json()["data"]
    assert client.keys() == schemas["Client"]["properties"].keys()
    problem = (await gateway.api.get("/v1/tasks/x")).json()
    assert problem.keys() <= schemas["Problem"]["properties"].keys() | {"errors"}
