"""Every kind, from submission to its end, by callbacks alone."""

from app.tempolor.kinds import KINDS
from tests.support.start_fixtures import StartGateway, StartSandbox


async def test_a_task_of_every_kind_ends_by_callbacks_without_a_query(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=200)
    gateway = await start_gateway(sandbox)
    tasks = {kind: await gateway.submit(kind) for kind in KINDS}
    for kind, task in tasks.items():
        assert (kind, task["status"]) == (kind, "queued")
        done = await gateway.until(task["id"], "succeeded")
        shape = KINDS[kind].family.shape
        artifacts = done["items"][0]["artifacts"]
        assert {artifact.name for artifact in shape.artifacts if artifact.required} <= artifacts.keys(), kind
        assert all(one["status"] == "ready" for one in artifacts.values()), kind
        assert done["playable_at"] is not None, kind
        assert done["finished_at"] is not None, kind
    assert [call for call in sandbox.calls if call.operation == "query"] == []
