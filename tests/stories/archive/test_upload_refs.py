"""A reference to an upload is for the gateway alone: it never reaches the vendor, and who names none is told where."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from app.database.tables import uploads
from app.tasks import stored_files
from tests.support.file_server import MP3
from tests.support.gateway import Running, running_gateway
from tests.support.song_callbacks import assert_problem
from tests.support.start_fixtures import StartGateway, StartSandbox

pytestmark = pytest.mark.real_time
NOBODYS = "upload:0192f0c8-0000-7000-8000-000000000000"


def _stems(url: str) -> dict[str, Any]:
    return {"kind": "stems.create", "params": {"url": url}}


async def _upload(gateway: Running) -> str:
    answer = await gateway.api.post("/v1/uploads", content=MP3)
    assert answer.status_code == 201, answer.text
    return answer.json()["url"]


async def test_what_was_queued_with_an_upload_is_not_sent_once_the_archive_is_off(
    start_gateway: StartGateway, start_sandbox: StartSandbox, database_url: str, directory: Path
) -> None:
    sandbox = await start_sandbox()
    async with running_gateway(database_url, workers=False, archive_url=f"file://{directory}") as before:
        task = (await before.api.post("/v1/tasks", json=_stems(await _upload(before)))).json()
    gateway = await start_gateway(sandbox)
    failed = await gateway.until(task["id"], "failed")
    assert failed["error"]["code"] == "upload_unavailable"
    assert failed["error"]["retryable"] is True
    assert "GATEWAY_ARCHIVE_URL" in failed["error"]["message"]
    assert len(sandbox.works) == 0
    # Nobody can submit one then, and nothing else stands still.
    refused = await gateway.api.post("/v1/tasks", json=task_of(task))
    assert "keeps no uploads" in assert_problem(refused, 422, "invalid_request")["errors"][0]["message"]
    again = await gateway.api.post(f"/v1/tasks/{task['id']}/retry")
    assert_problem(again, 422, "invalid_request")
    song = await gateway.submit()
    await gateway.until(song["id"], "running")


def task_of(task: dict[str, Any]) -> dict[str, Any]:
    return {"kind": task["kind"], "params": task["params"]}


async def test_an_upload_that_was_lost_fails_its_task_alone(
    start_gateway: StartGateway, start_sandbox: StartSandbox, database_url: str, directory: Path
) -> None:
    sandbox, url = await start_sandbox(), f"file://{directory}"
    async with running_gateway(database_url, workers=False, archive_url=url) as before:
        lost, kept = [(await before.api.post("/v1/tasks", json=_stems(await _upload(before)))).json() for _ in range(2)]
        await before.gateway.context.db.write(
            lambda conn: stored_files.doom(
                conn, [row.path for row in conn.execute(_file_of(lost))], before.gateway.context.clock.now()
            )
        )
    gateway = await start_gateway(sandbox, archive_url=url)
    assert (await gateway.until(lost["id"], "failed"))["error"]["code"] == "upload_unavailable"
    await gateway.until(kept["id"], "running")
    [work] = sandbox.works
    assert work.params["url"].startswith(f"{gateway.url}/files/")


def _file_of(task: dict[str, Any]) -> sa.Select[Any]:
    upload_id = UUID(task["params"]["url"].removeprefix("upload:"))
    return sa.select(uploads.c.path).where(uploads.c.id == upload_id)


@pytest.mark.parametrize("count", [1, 2])
async def test_a_fault_is_told_at_its_place(gateway: Running, count: int) -> None:
    good = {"kind": "lyrics.generate", "params": {"prompt": "rain"}}
    batch = {"tasks": [good] * (count - 1) + [_stems(NOBODYS)]}
    problem = assert_problem(await gateway.api.post("/v1/tasks/batch", json=batch), 422, "invalid_request")
    assert [fault["path"] for fault in problem["errors"]] == [f"tasks.{count - 1}.params.url"]
    problem = assert_problem(await gateway.api.post("/v1/tasks", json=_stems(NOBODYS)), 422, "invalid_request")
    assert [fault["path"] for fault in problem["errors"]] == ["params.url"]
