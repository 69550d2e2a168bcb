"""When a client is told of its files once more: where one is kept that had been given up, and not otherwise."""

from pathlib import Path
from uuid import UUID

import pytest

from app.archive.verify_and_retry import retry_failed
from app.audit.audit import command_line
from app.errors import ArchiveOff
from app.notifications.deliver import Notifier
from tests.stories.archive.test_copying import _done
from tests.stories.archive.test_living import _archiver, _copies, _copy_all
from tests.support.fast_clock import ScaledClock
from tests.support.file_server import MP3, WAV, File, FileServer
from tests.support.gateway import Running
from tests.support.notifications import client_of, deliver, watching
from tests.support.start_fixtures import StartGateway

pytestmark = pytest.mark.real_time


@pytest.fixture
async def gateway(start_gateway: StartGateway, directory: Path, clock: ScaledClock) -> Running:
    """No loops: each step is the test's."""
    return await start_gateway(workers=False, archive_url=f"file://{directory}", egress_allow_private=True, clock=clock)


async def test_what_was_given_up_is_told_again_only_where_it_is_kept_after_all(
    gateway: Running, files: FileServer
) -> None:
    files.files |= {"a.mp3": File(MP3), "a.wav": File(WAV)}
    studio, archiver = await client_of(gateway), _archiver(gateway)
    notifier = Notifier(gateway.gateway.context, gateway.gateway.webhooks)
    async with watching() as receiver:
        task = await studio.submit(receiver.url())

        async def told() -> int:
            await _copy_all(archiver)
            await deliver(notifier)
            return [sent["type"] for sent in await studio.notifications()].count("task.archived")

        await gateway.call_back("song", _done(files), UUID(task["id"]))
        archiver._downloader.most_bytes = len(MP3)
        assert await told() == 1
        assert (await _copies(gateway, task["id"]))["audio_hi"] == ("failed", "too_large")
        # Tried again by hand, in vain.
        assert await retry_failed(gateway.gateway.context, command_line()) == 1
        assert (await _copies(gateway, task["id"]))["audio_hi"] == ("pending", None)
        await deliver(notifier)
        assert await told() == 1
        # A new link, in vain too.
        files.files["b.wav"] = File(WAV)
        await gateway.call_back("song", _done(files, audio_hi="b.wav"), UUID(task["id"]))
        assert await told() == 1
        archiver._downloader.most_bytes = 2**30
        assert await retry_failed(gateway.gateway.context, command_line()) == 1
        assert await told() == 2
        assert (await _copies(gateway, task["id"]))["audio_hi"] == ("kept", None)
        assert await retry_failed(gateway.gateway.context, command_line()) == 0


async def test_without_an_archive_no_copy_is_tried_again(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False)
    with pytest.raises(ArchiveOff):
        await retry_failed(gateway.gateway.context, command_line())
