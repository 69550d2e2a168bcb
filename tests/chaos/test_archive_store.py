"""A store that is full, refuses rights or is away: nothing is lost, callbacks and submissions do not notice, and it
copies on by itself."""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chaos.conftest import Tell
from tests.chaos.disks import fill, tiny_disk
from tests.chaos.front import fronting
from tests.chaos.processes import client, free_port, holds, serving
from tests.chaos.pulse import Pulse, p99
from tests.chaos.test_archive import copies_of, tasks_of
from tests.support.commands import environment, run
from tests.support.databases import on_sqlite
from tests.support.gateway import PARAMS
from tests.support.object_store import ObjectStore, needs_s3, object_store
from tests.support.start_fixtures import StartSandbox

pytestmark = pytest.mark.slow
KINDS = ("song.generate", "stems.create")
TASKS = 12
BAD_S = 20.0


@dataclass
class Faulty:
    """A store with a fault. ``mend`` ends it; ``prefix``: a command under which the gateway runs."""

    archive_url: str
    mend: Callable[[], Awaitable[None]]
    variables: dict[str, str] = field(default_factory=dict)
    prefix: Sequence[str] = ()


@asynccontextmanager
async def _full(place: Path) -> AsyncIterator[Faulty]:
    with tiny_disk(place, 24):
        ballast = await asyncio.to_thread(fill, place)

        async def mend() -> None:
            ballast.unlink()

        yield Faulty(f"file://{place}/archive", mend)


@asynccontextmanager
async def _without_rights(place: Path) -> AsyncIterator[Faulty]:
    prefix: Sequence[str] = ()
    if os.geteuid() == 0:
        # Root is above all modes, unless it has no capabilities.
        if (setpriv := shutil.which("setpriv")) is None:
            pytest.skip("modes mean nothing to root, and there is no setpriv")
        prefix = (setpriv, "--inh-caps=-all", "--bounding-set=-all")
    place.chmod(0o500)

    async def mend() -> None:
        place.chmod(0o700)

    yield Faulty(f"file://{place}", mend, prefix=prefix)


async def _deny(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server of S3 to whom nobody may write."""
    await reader.read(65_536)
    body = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    writer.write(b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Type: application/xml\r\n")
    writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    await writer.drain()
    writer.close()


@asynccontextmanager
async def _behind_a_front(*, is_there: bool) -> AsyncIterator[Faulty]:
    """A bucket whose server is reached at last; until then another answers, or nobody."""
    port, denying_port = free_port(), free_port()
    async with object_store() as behind, await asyncio.start_server(_deny, "127.0.0.1", denying_port) as denying:
        front = fronting(port, [denying_port])
        if is_there:
            await front.__aenter__()
        second = fronting(port, [int(behind.url.rpartition(":")[2])])

        async def mend() -> None:
            if is_there:
                await front.__aexit__(None, None, None)
            await second.__aenter__()

        try:
            yield Faulty(behind.archive_url, mend, ObjectStore(f"http://127.0.0.1:{port}").variables)
        finally:
            await second.__aexit__(None, None, None)
            denying.close()


FAULTS = ["full", "no rights", pytest.param("denied by S3", marks=needs_s3), pytest.param("away", marks=needs_s3)]


@pytest.fixture
async def faulty(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Faulty]:
    (place := tmp_path / "archive").mkdir()
    match request.param:
        case "full":
            made = _full(place)
        case "no rights":
            made = _without_rights(place)
        case what:
            made = _behind_a_front(is_there=what == "denied by S3")
    async with made as store:
        yield store


@pytest.mark.parametrize("faulty", FAULTS, indirect=True)
@on_sqlite
async def test_a_store_that_fails_loses_nothing_and_nobody_notices(
    database_url: str,
    tmp_path: Path,
    start_sandbox: StartSandbox,
    faulty: Faulty,
    tell: Tell,
    request: pytest.FixtureRequest,
) -> None:
    sandbox = await start_sandbox(scale=60)
    settings: dict[str, Any] = {
        "tempolor_base_url": sandbox.base_url,
        "archive_url": faulty.archive_url,
        "variables": faulty.variables,
        "prefix": faulty.prefix,
        "egress_allow_private": "true",
        "submit_max_in_flight": 1000,
    }
    async with serving(database_url, tmp_path, **settings) as served, client(served.url) as api:
        async with Pulse(served.url) as pulse:
            await asyncio.sleep(BAD_S / 2)
            began_at = time.monotonic()
            tasks = [{"kind": kind, "params": PARAMS[kind]} for kind in KINDS * (TASKS // len(KINDS))]
            answer = await api.post("/v1/tasks/batch", json={"tasks": tasks})
            ids = {task["id"] for task in answer.json()["data"]}

            async def copies() -> dict[str, int]:
                found = copies_of([task for task in await tasks_of(api) if task["id"] in ids])
                states = [copy["status"] for copy in found.values()]
                return {state: states.count(state) for state in ("pending", "kept", "failed")}

            async def all_ended() -> bool:
                ended = [task for task in await tasks_of(api) if task["id"] in ids and task["finished_at"]]
                return len(ended) == TASKS

            await holds(all_ended, 60, lambda: "tasks do not end", 0.5)
            await holds(lambda: _has_failed(api), 60, lambda: "the store does not fail", 0.5)
            await asyncio.sleep(BAD_S)
            before = await copies()
            assert (before["kept"], before["failed"]) == (0, 0)
            mended_at = time.monotonic()
            await faulty.mend()

            async def all_kept() -> bool:
                return (await copies()) == {"pending": 0, "kept": before["pending"], "failed": 0}

            await holds(all_kept, 200, lambda: pulse.refused[:3], 0.5)
            took = time.monotonic() - mended_at
        assert pulse.refused == []
        env = environment(database_url, archive_url=faulty.archive_url) | faulty.variables
        checked = await run("archive", "verify", "--deep", env=env, cwd=tmp_path)
        assert checked.out.splitlines()[-1] == f"{before['pending']} files checked, 0 wrong", checked.text
    quiet, bad = pulse.seconds(0, began_at), pulse.seconds(began_at, mended_at)
    tell(
        f"{request.node.callspec.id}: {before['pending']} files waited and were kept within {took:.0f} s; callbacks p99"
        f" {p99(quiet) * 1000:.1f} ms before, {p99(bad) * 1000:.1f} ms meanwhile ({len(bad)}), submissions"
        f" {max(took for _, took in pulse.submissions) * 1000:.0f} ms at most ({len(pulse.submissions)})"
    )
    assert max(bad) < 5


async def _has_failed(api: httpx.AsyncClient) -> bool:
    found = [line for line in (await api.get("/metrics")).text.splitlines() if 'outcome="store_failed"' in line]
    return any(float(line.split()[-1]) > 0 for line in found if "_total" in line)
