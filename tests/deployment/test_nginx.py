"""nginx before one gateway and before two: the configurations of ops/nginx, loaded into a real one and driven."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import httpx
import pytest

from app.runtime.file_links import FileLinks
from tests.chaos.conftest import Tell
from tests.chaos.load import TOKENS, assert_kept
from tests.chaos.processes import Process, client, free_port, serving
from tests.deployment.steady import steady_load
from tests.docs.pages import ROOT, Block, block, blocks
from tests.processes.upgrades.flow import faults
from tests.support import nginx
from tests.support.databases import on_postgresql, on_sqlite
from tests.support.gateway import ADMIN_KEY, SECRET, SONG
from tests.support.not_none import present
from tests.support.song_callbacks import song

CONFIGS: Final = ROOT / "ops/nginx"
PLAIN: Final = """
upstream gateway { server gateway-1:8000; server gateway-2:8000; }
server { listen 443 ssl; ssl_certificate /etc/nginx/tls/public.pem; ssl_certificate_key /etc/nginx/tls/public.key;
location / { proxy_pass http://gateway; } }
server { listen 8443; }
"""
"""What somebody writes who leaves all else as nginx has it by default."""
MOST_WRONG: Final = 50
"""Under what one address may guess in a minute."""


@contextmanager
def _before(config: str, place: Path, *ports: int) -> Iterator[tuple[str, str]]:
    """The URLs of nginx from outside and from inside, with gateways at these ports behind it."""
    outside, inside = free_port(), free_port()
    hosts = ["gateway:8000"] if len(ports) == 1 else ["gateway-1:8000", "gateway-2:8000"]
    given = {host: f"127.0.0.1:{port}" for host, port in zip(hosts, ports, strict=True)}
    given |= {"listen 443": f"listen 127.0.0.1:{outside}", "listen 8443": f"listen 127.0.0.1:{inside}"}
    with nginx.proxying(nginx.write(place, config, given)):
        yield f"https://127.0.0.1:{outside}", f"https://127.0.0.1:{inside}"


def _config(name: str) -> str:
    return (CONFIGS / name).read_text()


def _client(url: str) -> httpx.AsyncClient:
    # The certificate is for another name.
    headers, limits = {"Authorization": f"Bearer {ADMIN_KEY}"}, httpx.Limits(max_connections=200)
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=90, verify=False, trust_env=False, limits=limits)


@asynccontextmanager
async def _two(database_url: str, place: Path, drain_s: float) -> AsyncIterator[list[Process]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(serving(database_url, place, workers=False, drain_s=drain_s))
            for _ in range(2)
        ]


async def _submit(api: httpx.AsyncClient) -> str:
    answer = await api.post("/v1/tasks", json={"kind": "song.generate", "params": SONG})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def _until(lines: AsyncIterator[str], wanted: str) -> None:
    async for line in lines:
        if line == wanted:
            return
    raise AssertionError("the stream ended")


@pytest.mark.parametrize("name", ["one.conf", "two.conf"])
def test_the_page_shows_the_file(name: str) -> None:
    assert block("docs/deploy.md", "nginx", f"ops/nginx/{name}").text == _config(name)


@pytest.mark.parametrize("fragment", blocks("nginx"), ids=str)
def test_nginx_takes_what_the_pages_show_a_part_of(fragment: Block, tmp_path: Path) -> None:
    nginx.check(nginx.write(tmp_path, f"server {{\n{fragment.text}}}", {"gateway:8000": "127.0.0.1:9"}))


@on_sqlite
async def test_callbacks_come_from_outside_and_all_else_from_inside(tmp_path: Path, database_url: str) -> None:
    archive_url = f"file://{tmp_path / 'archive'}"
    async with serving(
        database_url, tmp_path, workers=False, forwarded_allow_ips="127.0.0.1", archive_url=archive_url
    ) as served:
        port = present(served.port)
        for name, ports in (("one.conf", [port]), ("two.conf", [port, port])):
            place = tmp_path / name
            place.mkdir()
            with _before(_config(name), place, *ports) as (outside, inside):
                async with _client(outside) as vendor, _client(inside) as api:
                    await _drive(vendor, api)
            _assert_no_file_on_disk(place)


@on_sqlite
async def test_the_proxy_of_the_compose_file(tmp_path: Path, database_url: str) -> None:
    archive_url = f"file://{tmp_path / 'archive'}"
    async with serving(
        database_url, tmp_path, workers=False, forwarded_allow_ips="127.0.0.1", archive_url=archive_url
    ) as served:
        outside, inside = free_port(), free_port()
        given = {f"serve-{number}:8000": f"127.0.0.1:{served.port}" for number in (1, 2)}
        given |= {"listen 8080": f"listen 127.0.0.1:{outside}", "listen 8000": f"listen 127.0.0.1:{inside}"}
        with nginx.proxying(nginx.write_whole(tmp_path, _config("compose.conf"), given)):
            async with _client(f"http://127.0.0.1:{outside}") as vendor, _client(f"http://127.0.0.1:{inside}") as api:
                await _drive(vendor, api)
                assert (await api.get("/proxy")).status_code == 204
        _assert_no_file_on_disk(tmp_path)


def _assert_no_file_on_disk(place: Path) -> None:
    """nginx passed on what was uploaded and read as it came; only a batch may be whole on its disk."""
    buffered = re.findall(r"\[warn\].*temporary file.*", (place / "error.log").read_text())
    assert [line for line in buffered if "POST /v1/tasks/batch" not in line] == []


async def _drive(vendor: httpx.AsyncClient, api: httpx.AsyncClient) -> None:
    answer = await vendor.post(f"/callbacks/song/{TOKENS.sign('song', None)}", json=song("t2m_1"))
    assert (answer.status_code, answer.text) == (200, "success")
    assert (await vendor.post("/callbacks/song/wrong", json=song("t2m_1"))).status_code == 403
    for path in ("/v1/tasks", "/metrics", "/backlog", "/readyz", "/openapi.json"):
        assert (await vendor.get(path)).status_code == 404
    # A forged link is refused by the gateway, not by the proxy.
    assert (await vendor.get("/files/forged/a.mp3")).json()["code"] == "forbidden"
    assert (await api.get("/readyz")).status_code == 200
    task = {"kind": "song.generate", "params": SONG, "metadata": {"text": "x" * 50_000}}
    many = await api.post("/v1/tasks/batch", json={"tasks": [task] * 30})
    assert many.status_code == 202, many.text
    task_id = many.json()["data"][0]["id"]
    assert (await api.get(f"/v1/tasks/{task_id}?wait=1")).json()["status"] == "queued"
    async with api.stream("GET", f"/v1/tasks/{task_id}/stream") as stream:
        lines = stream.aiter_lines()
        await asyncio.wait_for(_until(lines, "event: task"), 5)
        await api.post(f"/v1/tasks/{task_id}/cancel")
        await asyncio.wait_for(_until(lines, "event: task"), 5)
    await _send_and_read_files(vendor, api)


async def _send_and_read_files(vendor: httpx.AsyncClient, api: httpx.AsyncClient) -> None:
    audio = b"fLaC" + bytes(20 * 1024 * 1024)
    uploaded = await api.post("/v1/uploads", content=audio)
    assert uploaded.status_code == 201, uploaded.text
    # Who is not signed in is told so, however much comes with it.
    for path in ("/v1/uploads", "/console/api/v1/uploads", "/console/try/stems.create"):
        refused = await api.post(path, content=audio, headers={"Authorization": "Bearer nobodys"})
        assert refused.status_code in (303, 401, 403), (path, refused.status_code)
    now = datetime.now(UTC)
    link = FileLinks([SECRET], "", timedelta(days=1)).upload_url(
        UUID(uploaded.json()["id"]), "a.flac", now + timedelta(minutes=1)
    )
    async with vendor.stream("GET", link) as answer:
        # By a reader who takes his time.
        await asyncio.sleep(1)
        assert len(await answer.aread()) == len(audio)


async def test_no_log_of_nginx_has_a_token(tmp_path: Path) -> None:
    """Also of requests that fail, since nobody is behind it."""
    with _before(_config("one.conf"), tmp_path, free_port()) as (outside, inside):
        async with _client(outside) as vendor, _client(inside) as api:
            path = f"/callbacks/song/{TOKENS.sign('song', None)}"
            assert (await vendor.post(path, json=song("t2m_1"))).status_code == 502
            assert (await api.get("/v1/tasks")).status_code == 502
    logs = "".join(log.read_text() for log in tmp_path.glob("*.log"))
    assert "/v1/tasks" in logs
    assert "/callbacks/" not in logs


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.slow)])
@on_postgresql
async def test_waits_streams_and_callbacks_by_the_defaults_of_nginx(
    tmp_path: Path, database_url: str, seconds: int, tell: Tell
) -> None:
    """One upstream for all of them, in which a wait that comes to nothing would take a server away from callbacks."""
    async with _two(database_url, tmp_path, drain_s=1) as served:
        with _before(PLAIN, tmp_path, *(present(one.port) for one in served)) as (url, _):
            async with _client(url) as api, steady_load(url, per_s=20, verify=False) as load:
                tasks = [await _submit(api) for _ in range(60)]
                waiting = [asyncio.create_task(api.get(f"/v1/tasks/{one}", params={"wait": seconds})) for one in tasks]
                async with api.stream("GET", "/v1/stream") as stream:
                    seen = asyncio.create_task(_until(stream.aiter_lines(), "event: task"))
                    await asyncio.sleep(0.5)
                    await _submit(api)
                    await asyncio.wait_for(seen, 2)
                wrong: Counter[int] = Counter()
                while not all(one.done() for one in waiting):
                    if wrong.total() < MOST_WRONG:
                        wrong[(await api.post("/callbacks/song/wrong", json={})).status_code] += 1
                    await asyncio.sleep(1)
                answers = [one.result() for one in waiting]
    log = (tmp_path / "access.log").read_text()
    # What nginx waited for: the time until sixty connections over TLS are there is the machine's.
    took_s = [float(one) for one in re.findall(rf"^200 (\S+) GET \S+wait={seconds} ", log, re.MULTILINE)]
    tell(
        f"{len(answers)} waits of {seconds} s: {dict(Counter(one.status_code for one in answers))} after"
        f" {min(took_s):.1f} to {max(took_s):.1f} s; callbacks: {dict(Counter(one.status for one in load.answers))},"
        f" with a wrong token {dict(wrong)}"
    )
    assert {one.status_code for one in answers} == {200}
    assert len(took_s) == len(answers)
    assert max(took_s) < 58
    assert load.others() == Counter()
    assert set(wrong) == {403}


@on_postgresql
@pytest.mark.slow
async def test_one_of_two_is_restarted_and_the_other_killed_and_nobody_notices(
    tmp_path: Path, database_url: str, tell: Tell
) -> None:
    reads: Counter[int] = Counter()

    async def read(api: httpx.AsyncClient) -> None:
        while True:
            reads[(await api.get("/v1/tasks", params={"limit": 1})).status_code] += 1
            await asyncio.sleep(0.02)

    async with _two(database_url, tmp_path, drain_s=1) as (first, second):
        ports = present(first.port), present(second.port)
        with _before(_config("two.conf"), tmp_path, *ports) as (outside, inside):
            async with _client(inside) as api, steady_load(outside, per_s=50, verify=False) as load:
                task_id = await _submit(api)
                reading = asyncio.create_task(read(api))
                waits = [asyncio.create_task(api.get(f"/v1/tasks/{task_id}?wait=15")) for _ in range(10)]
                await asyncio.sleep(1)
                first.terminate()
                assert await first.ended(30) == 0
                await asyncio.sleep(1)
                await first.start()
                # By then nginx lets it have its turn again.
                await asyncio.sleep(4)
                await second.kill()
                await asyncio.sleep(2)
                await second.start()
                await asyncio.sleep(1)
                reading.cancel()
                waited = Counter([(await one).status_code for one in waits])
            tell(f"callbacks: {dict(Counter(one.status for one in load.answers))}, reads: {dict(reads)}")
        async with client(first.url) as api:
            await assert_kept(api, load.acknowledged)
    assert load.others() == Counter()
    assert set(reads) == {200}
    assert set(waited) == {200}
    assert [faults(one) for one in (first, second)] == [[], []]
