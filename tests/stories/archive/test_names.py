"""Names that file systems, paths and links are particular about."""

from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import pytest

from app.archive.file_store import path_part
from tests.stories.archive.test_copying import _archived
from tests.support.file_server import MP3, File, FileServer
from tests.support.gateway import Running
from tests.support.not_none import present
from tests.support.song_callbacks import song

pytestmark = pytest.mark.real_time


CALLED = {
    "\u6c34" * 80: "\u6c34" * 15,
    "\U0001f600" * 100: "\U0001f600" * 15,
    "a" * 240: "a" * 80,
    "100% ~#?&.v2": "100% ~# &.v2.mp3",
    "..": "untitled.mp3",
    "": "mp3.mp3",
}


@pytest.mark.parametrize("name", CALLED, ids=range(len(CALLED)))
async def test_an_upload_is_taken_whatever_it_is_called(gateway: Running, name: str) -> None:
    answer = await gateway.api.post("/v1/uploads", params={"filename": f"{name}.mp3"}, content=MP3)
    assert answer.status_code == 201, answer.text
    task = await gateway.submit("stems.create", params={"url": answer.json()["url"]})
    params: Any = await present(gateway.gateway.workers).dispatcher._with_links(task["params"])
    link = urlsplit(params["url"]).path
    assert link.endswith(".mp3")
    served = await gateway.api.get(link)
    assert served.content == MP3
    shown = unquote(served.headers["content-disposition"].partition("filename*=UTF-8''")[2])
    assert shown.startswith(CALLED[name])


async def test_a_long_item_id_holds_up_no_other_copy(gateway: Running, files: FileServer) -> None:
    files.files["a.mp3"] = File(MP3)
    item_id = "\u6c34/" * 100
    task = await gateway.submit()
    await gateway.call_back("song", song(item_id, "succeeded", audio_url=files.url("a.mp3")), UUID(task["id"]))
    found = await _archived(gateway, task["id"], "audio")
    link = urlsplit(found["items"][0]["artifacts"]["audio"]["archive"]["url"]).path
    assert (await gateway.api.get(link)).content == MP3


def test_parts_that_are_cut_stay_apart() -> None:
    one, other = path_part("\u6c34" * 200), path_part("\u6c34" * 199 + "a")
    assert one != other
    assert max(len(one), len(other)) <= 200
    assert path_part("t2m_1") == "t2m_1"
