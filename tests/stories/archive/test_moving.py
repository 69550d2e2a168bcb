"""The archive moves to another store by a command, beside a gateway that goes on, and can be interrupted."""

from pathlib import Path
from typing import Any

import pytest

from tests.stories.archive.test_copying import _archived, _ended_song
from tests.stories.archive.test_living import _files_in
from tests.support.commands import call, environment
from tests.support.databases import on_sqlite
from tests.support.file_server import MP3, WAV, File, FileServer
from tests.support.gateway import Running, running_gateway
from tests.support.programs import Ended

pytestmark = pytest.mark.real_time


@on_sqlite
async def test_every_file_is_there_after_a_move_that_was_cut_short(
    gateway: Running, files: FileServer, directory: Path, tmp_path: Path
) -> None:
    await check_a_move_that_was_cut_short(gateway, files, directory, f"file://{tmp_path / 'new'}", {})


async def check_a_move_that_was_cut_short(
    gateway: Running, files: FileServer, directory: Path, url: str, variables: dict[str, str]
) -> None:
    """Move the archive in ``directory`` to ``url``, at first with one file damaged and one gone. ``variables``: what
    the users of the new store need in their environment."""
    database_url = gateway.settings.database_url.get_secret_value()
    files.files |= {"a.mp3": File(MP3), "a.wav": File(WAV)}
    task = await _ended_song(gateway, files)
    for name in ("audio", "audio_hi"):
        await _archived(gateway, task["id"], name)
    upload = (await gateway.api.post("/v1/uploads?filename=ü.mp3", content=MP3)).json()
    env = environment(database_url, archive_url=f"file://{directory}") | variables

    async def archive(*arguments: str, **settings: Any) -> Ended:
        return await call("archive", *arguments, env=env | settings)

    damaged, lost = (directory / path for path in _files_in(directory) if path.startswith("bootstrap"))
    whole = damaged.read_bytes()
    damaged.write_bytes(bytes(len(whole)))
    lost.rename(directory / "elsewhere")
    moved = await archive("move", url)
    assert moved.code == 1, moved.text
    assert f"{damaged.relative_to(directory)}: its content is not what was recorded" in moved.out
    assert f"{lost.relative_to(directory)}: it is missing" in moved.out
    assert moved.out.splitlines()[-1] == "1 files copied, 0 were there already, 2 wrong"
    # Nothing of the two is at the new place.
    new = {"GATEWAY_ARCHIVE_URL": url}
    assert (await archive("verify", **new)).out.splitlines()[-1] == "3 files checked, 2 wrong"
    damaged.write_bytes(whole)
    (directory / "elsewhere").rename(lost)
    moved = await archive("move", url)
    assert (moved.code, moved.out.splitlines()[-1]) == (0, "2 files copied, 1 were there already, 0 wrong")
    assert (await archive("verify", "--deep", **new)).out.splitlines()[-1] == "3 files checked, 0 wrong"
    moved = await archive("move", url, "--deep", "--from", f"file://{directory}", **new)
    assert (moved.code, moved.out.splitlines()[-1]) == (0, "0 files copied, 3 were there already, 0 wrong")
    await gateway.gateway.stop()
    async with running_gateway(database_url, workers=False, archive_url=url) as after:
        assert (await after.api.get("/v1/items/t2m_1/artifacts/audio")).content == MP3
        assert (await after.api.get("/v1/items/t2m_1/artifacts/audio_hi")).content == WAV
        sent = await after.submit("stems.create", params={"url": upload["url"]})
        assert sent["params"]["url"] == upload["url"]


async def test_files_that_are_nobodys_are_named(gateway: Running, directory: Path, database_url: str) -> None:
    await gateway.api.post("/v1/uploads", content=MP3)
    (directory / "by hand").mkdir()
    (directory / "by hand" / "notes.txt").write_text("mine")
    checked = await call(
        *("archive", "verify", "--unlisted"), env=environment(database_url, archive_url=f"file://{directory}")
    )
    assert (checked.code, checked.out.splitlines()) == (
        0,
        ["by hand/notes.txt: unlisted", "1 files checked, 0 wrong"],
    )


@pytest.mark.parametrize("url", ["ftp://host/place", "nowhere", "memory:///place", "https://bucket.example/place"])
async def test_a_place_that_is_no_store_is_refused(
    gateway: Running, directory: Path, database_url: str, url: str
) -> None:
    env = environment(database_url, archive_url=f"file://{directory}")
    refused = await call("archive", "move", url, env=env)
    assert refused.code != 0
    assert "the URL: " in refused.text
    assert "Traceback" not in refused.text
