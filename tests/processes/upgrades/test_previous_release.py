"""The previous release's code on today's schema: it starts on its own, and is overtaken while it runs."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.load import assert_kept
from tests.chaos.processes import Process, client, free_port, serving
from tests.deployment.steady import steady_load
from tests.processes.upgrades.flow import faults, looked_at, order
from tests.processes.upgrades.trees import NoHistory, Release, previous_release
from tests.support.commands import environment, run
from tests.support.postgres import PostgresServer
from tests.support.start_fixtures import StartSandbox

PER_S = 15


@pytest.fixture
def previous(tmp_path: Path) -> Release:
    """The release before today's newest migration, as files."""
    tree = tmp_path / "previous"
    tree.mkdir()
    try:
        return previous_release(tree)
    except NoHistory as error:
        pytest.skip(str(error))


@pytest.fixture
def empty_url(postgres: PostgresServer) -> Iterator[str]:
    """A database without any table."""
    name = f"upgrade_{uuid.uuid4().hex}"
    yield postgres.create_database(name)
    postgres.drop_database(name)


async def test_the_previous_release_works_on_todays_schema(
    tmp_path: Path, empty_url: str, previous: Release, start_sandbox: StartSandbox
) -> None:
    assert previous.edited == (), "a migration that was released is never edited"
    sandbox = await start_sandbox(scale=300)
    settings: dict[str, Any] = {"tempolor_base_url": sandbox.base_url}
    env = environment(empty_url)
    made = await run("migrate", env=env, cwd=previous.tree)
    assert made.code == 0, (previous.name, made.err)
    old = Process("serve", database_url=empty_url, cwd=previous.tree, port=free_port(), **settings)
    try:
        await old.start()
        before = await order(old)
        async with looked_at(old) as said, steady_load(old.url, PER_S) as load:
            migrated = await run("migrate", env=env, cwd=tmp_path)
            assert migrated.code == 0, migrated.err
            await order(old)
            async with serving(empty_url, tmp_path, **settings) as new:
                await order(old, new)
                await order(new, old)
                async with client(new.url) as api:
                    assert (await api.get(f"/v1/tasks/{before['id']}")).json()["status"] == "succeeded"
            await order(old)
        assert load.others() == {}
        assert len(load.acknowledged) > 2 * PER_S
        if previous.released:
            # What was never released had not learned yet to stay ready.
            assert set(said) == {200}
        async with client(old.url) as api:
            await assert_kept(api, load.acknowledged)
        assert faults(old) == []
    finally:
        await old.kill()
