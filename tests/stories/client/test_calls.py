"""The calls, against a real gateway and a sandbox of the vendor."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from tempolor_gateway_client import (
    AsyncGatewayClient,
    Conflict,
    Forbidden,
    GatewayError,
    IdempotencyMismatch,
    InvalidRequest,
    NewTask,
    NotFound,
    Retries,
    Unauthorized,
    Unavailable,
    WaitTimeout,
)
from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.gateway import PARAMS, SONG, Running
from tests.support.not_none import present
from tests.support.song_callbacks import done, song
from tests.support.start_fixtures import StartGateway, StartSandbox


async def test_a_submitted_task_is_waited_for_to_its_end(studio: tuple[Running, AsyncGatewayClient]) -> None:
    _, client = studio
    task = await client.submit("song.generate", SONG, reference="order-17", metadata={"shelf": 3})
    assert (task.status, task.reference, task.metadata, task.params) == ("queued", "order-17", {"shelf": 3}, SONG)
    assert [task.ended, task.playable, task.usable, task.complete] == [False] * 4
    playable = await client.wait(task.id, "playable", timeout_s=60)
    assert playable.playable
    assert playable.items[0].artifacts["audio"].status == "ready"
    ended = await client.wait(task.id, timeout_s=60)
    assert ended.status == "succeeded"
    assert ended.ended
    assert ended.usable
    assert ended.warnings == ()
    assert ended.version > task.version
    assert ended.created_at == task.created_at
    assert ended.created_at.tzinfo is not None
    times = [present(at) for at in (ended.created_at, ended.submitted_at, ended.playable_at, ended.finished_at)]
    assert times == sorted(times)
    assert times[0] < times[1]
    audio = ended.items[0].artifacts["audio"]
    assert present(audio.url).startswith("http")
    assert audio.urls == (audio.url,)
    assert present(audio.expires_at) - datetime.now(UTC) > timedelta(days=2)
    assert present(audio.url) not in repr(ended)
    assert ended == await client.get(task.id)
    told = await client.timeline(task.id)
    assert told[0].type == "accepted"
    assert [one.seq for one in told] == sorted(one.seq for one in told)
    assert told[0].at == task.created_at


@on_sqlite
async def test_a_timeline_of_many_pages_is_told_whole(
    start_gateway: StartGateway, connect: Callable[..., AsyncGatewayClient], database_url: str
) -> None:
    gateway = await start_gateway(workers=False)
    task = await connect(gateway.url).submit("song.generate", SONG)
    await Direct(database_url).execute(
        "INSERT INTO timeline (task_id, seq, at, type, version, detail) WITH RECURSIVE n(i) AS "
        "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) "
        "SELECT task_id, seq + i, at, type, version, detail FROM timeline, n"
    )
    told = await connect(gateway.url).timeline(task.id)
    assert [one.seq for one in told] == list(range(1, 2502))


@on_sqlite
async def test_a_task_that_does_not_end_is_waited_for_so_long_and_told(
    start_gateway: StartGateway, connect: Callable[..., AsyncGatewayClient]
) -> None:
    gateway = await start_gateway(workers=False)
    client = connect(gateway.url)
    task = await client.submit("song.generate", SONG)
    began = asyncio.get_running_loop().time()
    with pytest.raises(WaitTimeout) as caught:
        await client.wait(task.id, timeout_s=0.7)
    assert 0.7 <= asyncio.get_running_loop().time() - began < 3
    assert caught.value.task == task
    assert "it is queued" in str(caught.value)
    with pytest.raises(WaitTimeout) as caught:
        await client.wait(task.id, timeout_s=0)
    assert caught.value.task == task
    waiting = asyncio.create_task(client.wait(task.id, "playable"))
    await asyncio.sleep(0.1)
    await gateway.call_back("song", song(status="main_succeeded"), UUID(task.id))
    shown = await asyncio.wait_for(waiting, 20)
    assert (shown.status, shown.playable, shown.usable) == ("main_succeeded", True, False)


async def test_an_outage_ends_a_wait_with_the_last_state_or_none(connect: Callable[..., AsyncGatewayClient]) -> None:
    nowhere = connect("http://127.0.0.1:9")
    with pytest.raises(WaitTimeout) as caught:
        await nowhere.wait("0192aaaa-0000-7000-8000-000000000000", timeout_s=0.2)
    assert caught.value.task is None
    assert "could not be read" in str(caught.value)


@on_sqlite
async def test_many_are_submitted_together_in_their_order_or_not_at_all(
    start_gateway: StartGateway, connect: Callable[..., AsyncGatewayClient]
) -> None:
    gateway = await start_gateway(workers=False)
    client = connect(gateway.url)
    new = [NewTask(kind=kind, params=params, reference=kind) for kind, params in PARAMS.items()]
    tasks = await client.submit_many(new, idempotency_key="once")
    assert [task.reference for task in tasks] == list(PARAMS)
    assert [task.id for task in await client.submit_many(new, idempotency_key="once")] == [one.id for one in tasks]
    with pytest.raises(InvalidRequest) as caught:
        await client.submit_many([*new, NewTask(kind="song.generate", params={"prompt": 1, "model": "x"})])
    assert [fault.path for fault in caught.value.faults] == [f"tasks.{len(new)}.params.prompt"]
    assert len([task async for task in client.list()]) == len(new)


async def test_a_list_is_read_by_pages_newest_first(
    start_gateway: StartGateway, connect: Callable[..., AsyncGatewayClient]
) -> None:
    gateway = await start_gateway(workers=False)
    client = connect(gateway.url)
    tasks = [await client.submit("song.generate", SONG, reference=f"order-{number % 2}") for number in range(7)]
    newest_first = [task.id for task in reversed(tasks)]
    assert [task.id async for task in client.list(page_size=2)] == newest_first
    assert [task.id async for task in client.list(page_size=7)] == newest_first
    assert [task.id async for task in client.list(reference="order-1", page_size=1)] == newest_first[1::2]
    await client.cancel(tasks[0].id)
    assert [task.id async for task in client.list(status="canceled")] == [tasks[0].id]
    assert len([task async for task in client.list(status=["queued", "canceled"], page_size=3)]) == 7
    later = [task.id async for task in client.list(created_after=tasks[3].created_at + timedelta(microseconds=1))]
    assert later == newest_first[:3]
    assert [task async for task in client.list(kind="midi.create")] == []
    with pytest.raises(InvalidRequest):
        await anext(client.list(page_size=0))


@on_sqlite
async def test_what_is_done_with_tasks(
    start_gateway: StartGateway, start_sandbox: StartSandbox, connect: Callable[..., AsyncGatewayClient]
) -> None:
    gateway = await start_gateway(workers=False)
    client = connect(gateway.url)
    task = await client.submit("song.generate", SONG)
    with pytest.raises(Conflict) as refused:
        await client.retry(task.id)
    assert (refused.value.status, refused.value.code) == (409, "conflict")
    with pytest.raises(Conflict):
        await client.refresh(task.id)
    canceled = await client.cancel(task.id)
    assert (canceled.status, canceled.usable) == ("canceled", False)
    assert await client.cancel(task.id) == canceled
    again = await client.retry(task.id, idempotency_key="again")
    assert (again.retry_of, again.status) == (task.id, "queued")
    assert (await client.retry(task.id, idempotency_key="again")).id == again.id
    await gateway.call_back("song", done(), UUID(again.id))
    with pytest.raises(Conflict):
        await client.cancel(again.id)
    assert (await client.refresh(again.id)).status == "succeeded"
    [adopted] = await client.adopt("lyrics", ["elsewhere-1"])
    assert (adopted.kind, adopted.items[0].item_id) == ("lyrics.external", "elsewhere-1")
    assert (await client.adopt("lyrics", ["elsewhere-1"]))[0].id == adopted.id
    made = (await gateway.api.post("/v1/clients", json={"name": "studio"})).json()
    [given] = await client.adopt("lyrics", ["elsewhere-2"], client="studio")
    own = connect(gateway.url, made["api_key"])
    assert await own.get(given.id) == given
    with pytest.raises(Forbidden):
        await own.adopt("lyrics", ["elsewhere-3"])


@on_sqlite
async def test_errors_are_told_apart(start_gateway: StartGateway, connect: Callable[..., AsyncGatewayClient]) -> None:
    gateway = await start_gateway(workers=False)
    admin = connect(gateway.url)
    made = (await gateway.api.post("/v1/clients", json={"name": "studio"})).json()
    client = connect(gateway.url, made["api_key"])
    with pytest.raises(InvalidRequest) as caught:
        await client.submit("song.generate", {"prompt": 3, "model": "tempolor-latest"})
    assert (caught.value.status, caught.value.code) == (422, "invalid_request")
    assert [fault.path for fault in caught.value.faults] == ["params.prompt"]
    await client.submit("song.generate", SONG, idempotency_key="mine")
    with pytest.raises(IdempotencyMismatch):
        await client.submit("song.generate", {**SONG, "prompt": "else"}, idempotency_key="mine")
    theirs = await admin.submit("song.generate", SONG)
    for nothing in (theirs.id, "no-id", "..", "../clients", "a/b?c#d", "é"):
        with pytest.raises(NotFound):
            await client.get(nothing)
    with pytest.raises(Forbidden):
        await anext(client.list(client="bootstrap"))
    with pytest.raises(Unauthorized) as denied:
        await connect(gateway.url, "schlüssel-" * 4).get(theirs.id)
    assert "schlüssel" not in str(denied.value)
    await gateway.api.delete("/v1/clients/studio")
    for call in (client.get(theirs.id), client.wait(theirs.id), anext(client.stream_all())):
        with pytest.raises(Unauthorized):
            await call
    errors = (InvalidRequest, NotFound, Forbidden, Unauthorized, Conflict, Unavailable, WaitTimeout)
    assert all(issubclass(one, GatewayError) for one in errors)


def test_a_url_must_name_its_scheme() -> None:
    with pytest.raises(ValueError, match="http"):
        AsyncGatewayClient("gateway:8000", "key")
    for unreadable in ("http://[::1", "http://gateway:port", "http://gateway:65536", "https://", "http://:8000"):
        for trust_env in (True, False):
            with pytest.raises(ValueError, match="the base URL cannot be read"):
                AsyncGatewayClient(unreadable, "key", trust_env=trust_env)
    # As it is read from a file; what is said does not repeat it.
    with pytest.raises(ValueError, match="the API key is empty"):
        AsyncGatewayClient("http://gateway:8000", "")
    for pasted in ("secret-key\n", " secret-key", "a word\nsecret-key"):
        with pytest.raises(ValueError, match="API key") as refused:
            AsyncGatewayClient("http://gateway:8000", pasted)
        assert "secret-key" not in str(refused.value)


@on_sqlite
@pytest.mark.parametrize("no_proxy", ["", "[::1]", "localhost,fd07:b51a:cc66:f0::/64"])
async def test_this_machine_is_never_asked_through_a_proxy(
    start_gateway: StartGateway,
    connect: Callable[..., AsyncGatewayClient],
    monkeypatch: pytest.MonkeyPatch,
    no_proxy: str,
) -> None:
    gateway = await start_gateway()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "socks5://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    client = connect(gateway.url, trust_env=True, retries=Retries(total_s=0))
    assert [task async for task in client.list()] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NO_PROXY", "[::1]"),
        ("HTTPS_PROXY", "http://proxy:port"),
        ("ALL_PROXY", "socks5://p:1"),
        ("http_proxy", "ftp://p"),
    ],
)
async def test_variables_that_cannot_be_used_are_named(
    monkeypatch: pytest.MonkeyPatch, connect: Callable[..., AsyncGatewayClient], name: str, value: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name.upper()):
        connect("http://gateway.example:8000", trust_env=True)
    connect("http://gateway.example:8000")


async def test_authorities_that_cannot_be_read_are_named(
    monkeypatch: pytest.MonkeyPatch, connect: Callable[..., AsyncGatewayClient], tmp_path: Path
) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for path in (tmp_path / "missing.pem", empty):
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        with pytest.raises(ValueError, match="SSL_CERT_FILE"):
            connect("http://gateway.example:8000", trust_env=True)
