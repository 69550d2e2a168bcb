"""Today's code on tomorrow's schema: expanded under load, taken back, and contracted. The migrations are those of
docs/upgrading.md."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from app.database.schema_revision import head
from tests.chaos.load import assert_kept
from tests.chaos.processes import Process, client, free_port, serving
from tests.deployment.steady import steady_load
from tests.processes.upgrades.flow import faults, looked_at, order, readiness
from tests.processes.upgrades.trees import ROOT, Release, next_release
from tests.support.commands import environment, run
from tests.support.databases import on_postgresql, on_sqlite
from tests.support.start_fixtures import StartSandbox

MIGRATIONS = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/upgrading.md").read_text(), re.MULTILINE | re.DOTALL)
EXPAND, CONTRACT = MIGRATIONS[:2], MIGRATIONS[2]
PER_S = 15


async def _migrate(release: Release, env: dict[str, str], *arguments: str) -> str:
    ended = await run("migrate", *arguments, env=env, cwd=release.tree)
    assert ended.code == 0, ended.err
    return ended.out


async def _assert_refused(env: dict[str, str], cwd: Path) -> None:
    """Today's code neither starts on the schema, nor touches it, and says why."""
    commands = (["serve", "--port", "0"], ["worker"], ["migrate"])
    for ended in await asyncio.gather(*(run(*command, env=env, cwd=cwd) for command in commands)):
        assert ended.code == 1
        assert "0102, which this release does not know" in ended.err
        assert "Traceback" not in ended.err


@on_postgresql
@pytest.mark.slow
async def test_a_running_process_outlives_the_next_releases_migration(
    tmp_path: Path, database_url: str, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=300)
    settings: dict[str, Any] = {"tempolor_base_url": sandbox.base_url}
    env = environment(database_url)
    expanded = next_release(tmp_path / "expanded", EXPAND)
    async with serving(database_url, tmp_path, **settings) as today:
        before = await order(today)
        async with looked_at(today) as said, steady_load(today.url, PER_S) as load:
            await _migrate(expanded, env)
            assert await readiness(today) == (200, {"draining": "no", "database": "ok", "schema": "ahead"})
            await order(today)
            await _assert_refused(env, tmp_path)
            tomorrow = Process("serve", database_url=database_url, cwd=expanded.tree, port=free_port(), **settings)
            try:
                await tomorrow.start()
                assert (await readiness(tomorrow))[1]["schema"] == "ok"
                await order(today, tomorrow)
                await order(tomorrow, today)
            finally:
                await tomorrow.kill()
            # Taken back, by the release that knows the way.
            await _migrate(expanded, env, "--to", head())
            assert await readiness(today) == (200, {"draining": "no", "database": "ok", "schema": "ok"})
            await order(today)
        assert load.others() == {}
        assert len(load.acknowledged) > 3 * PER_S
        assert set(said) == {200}
        async with client(today.url) as api:
            await assert_kept(api, load.acknowledged)
            assert (await api.get(f"/v1/tasks/{before['id']}")).json()["status"] == "succeeded"
        assert faults(today) == []


@on_postgresql
async def test_a_process_that_was_forgotten_is_not_ready_once_the_schema_is_contracted(
    tmp_path: Path, database_url: str
) -> None:
    expanded = next_release(tmp_path / "expanded", EXPAND)
    contracted = next_release(tmp_path / "contracted", [*EXPAND, CONTRACT])
    env = environment(database_url)
    async with serving(database_url, tmp_path, workers=False) as today:
        await _migrate(expanded, env)
        assert (await readiness(today))[0] == 200
        await _migrate(contracted, env)
        assert await readiness(today) == (503, {"draining": "no", "database": "ok", "schema": "not at head"})
        # Whoever refuses has left the note alone as well.
        await _assert_that_the_expanded_release_would_be_served_no_more(expanded, env)
        assert (await readiness(today))[0] == 503


async def _assert_that_the_expanded_release_would_be_served_no_more(expanded: Release, env: dict[str, str]) -> None:
    ended = await run("migrate", env=env, cwd=expanded.tree)
    assert ended.code == 1
    assert "0103, which this release does not know" in ended.err


@on_sqlite
async def test_the_documented_migrations_run_on_sqlite_and_an_older_release_refuses_the_file(
    tmp_path: Path, database_url: str
) -> None:
    env = environment(database_url)
    contracted = next_release(tmp_path / "contracted", MIGRATIONS)
    await _migrate(contracted, env)
    for command in (["serve", "--port", "0"], ["migrate"]):
        ended = await run(*command, env=env, cwd=tmp_path)
        assert (ended.code, "Traceback" in ended.err) == (1, False)
        assert "0103, which this release does not know" in ended.err
    assert await _migrate(contracted, env, "--to", head()) == f"The schema is at {head()}.\n"
    assert (await run("clients", "list", env=env, cwd=tmp_path)).code == 0
    unknown = await run("migrate", "--to", "0999", env=env, cwd=tmp_path)
    assert (unknown.code, "Traceback" in unknown.err) == (1, False)
    assert "0999" in unknown.err
