"""The archive moves into a bucket as it does into another directory."""

from pathlib import Path

from tests.stories.archive.test_moving import check_a_move_that_was_cut_short
from tests.support.databases import on_sqlite
from tests.support.file_server import FileServer
from tests.support.gateway import Running
from tests.support.object_store import ObjectStore, needs_s3

pytestmark = needs_s3


@on_sqlite
async def test_every_file_is_there_after_a_move_that_was_cut_short(
    gateway: Running, files: FileServer, directory: Path, bucket: ObjectStore
) -> None:
    await check_a_move_that_was_cut_short(gateway, files, directory, bucket.archive_url, bucket.variables)
