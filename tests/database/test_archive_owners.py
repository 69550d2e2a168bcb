"""Items whose files are copied or kept while they go to another task, or away."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.archive.cleanup import Cleaner
from app.audit.audit import Actor
from app.clients import clients
from app.operations.erase import erase
from tests.stories.archive.conftest import directory, files
from tests.stories.archive.test_copying import _done
from tests.stories.archive.test_living import _archiver, _copies, _copy_all, _files_in
from tests.support.fast_clock import ScaledClock
from tests.support.file_server import MP3, WAV, File, FileServer
from tests.support.gateway import Running, eventually
from tests.support.notifications import client_of
from tests.support.start_fixtures import StartGateway

__all__ = ["directory", "files"]


@pytest.fixture
async def gateway(start_gateway: StartGateway, directory: Path, clock: ScaledClock) -> Running:
    return await start_gateway(workers=False, archive_url=f"file://{directory}", egress_allow_private=True, clock=clock)


@pytest.fixture(autouse=True)
def served(files: FileServer) -> None:
    files.files |= {"a.mp3": File(MP3, pause_s=0.1), "a.wav": File(WAV)}


KEPT: dict[str, Any] = {"audio": ("kept", None), "audio_hi": ("kept", None)}


@pytest.mark.parametrize("when", ["before", "meanwhile", "after"])
async def test_copies_go_with_their_item_to_the_task_that_claims_it(
    gateway: Running, files: FileServer, clock: ScaledClock, directory: Path, when: str
) -> None:
    # A token that is bound to no task; then the one of the task that it is.
    await gateway.call_back("song", _done(files))
    task, archiver = await gateway.submit(), _archiver(gateway)
    if when == "meanwhile":
        await archiver.step()
        await eventually(lambda: _asked(files))
    elif when == "after":
        await _copy_all(archiver)
    await gateway.call_back("song", _done(files, style="pop"), UUID(task["id"]))
    await _copy_all(archiver)
    assert await _copies(gateway, task["id"]) == KEPT
    store = gateway.gateway.file_store
    assert store is not None
    clock.skip(6 * 86_400)
    cleaner = Cleaner(gateway.gateway.context, store, 5)
    await cleaner.step()
    await cleaner.step()
    assert set((await _copies(gateway, task["id"])).values()) == {("failed", "retention")}
    assert _files_in(directory) == []


async def _asked(files: FileServer) -> bool:
    return len(files.asked) == 2


async def test_files_of_a_client_that_is_erased_go_uploads_and_what_is_being_copied_too(
    gateway: Running, files: FileServer, directory: Path
) -> None:
    studio, context, store = await client_of(gateway), gateway.gateway.context, gateway.gateway.file_store
    assert store is not None
    answer = await gateway.api.post(
        "/v1/tasks",
        json={"kind": "song.generate", "params": {"prompt": "x", "model": "y"}},
        headers=studio.headers,
    )
    await gateway.call_back("song", _done(files), UUID(answer.json()["id"]))
    archiver, by = _archiver(gateway), Actor("cli:test")
    await archiver.step()
    await eventually(lambda: _asked(files))
    assert (await gateway.api.post("/v1/uploads", content=MP3, headers=studio.headers)).status_code == 201
    await clients.revoke(context.db, context.clock, by, "studio")
    assert (await erase(context.db, context.clock, by, "studio")).done
    await _copy_all(archiver)
    assert len(_files_in(directory)) > 0
    await Cleaner(context, store, 0).step()
    assert _files_in(directory) == []
    assert not list(directory.iterdir())  # the client's name is gone too
