"""Every kind, from submission to its end, by callbacks alone."""

import pytest

from app.vendor.kinds import KINDS
from tests.support.starting import StartGateway, StartSandbox

pytestmark = pytest.mark.virtual_time


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_a_task_of_every_kind_ends_by_callbacks_without_a_query(
    start_gateway: StartGateway, start_sandbox: StartSandbox, kind: str
) -> None:
    sandbox = await start_sandbox(scale=200)
    gateway = await start_gateway(sandbox)
    task = await gateway.submit(kind)
    assert task["status"] == "queued"
    done = await gateway.until(task["id"], "succeeded")
    shape = KINDS[kind].family.shape
    assert {artifact.name for artifact in shape.artifacts if artifact.required} <= done["items"][0]["artifacts"].keys()
    assert all(one["status"] == "ready" for one in done["items"][0]["artifacts"].values())
    assert done["playable_at"] is not None
    assert done["finished_at"] is not None
    assert [call for call in sandbox.calls if call.operation == "query"] == []
