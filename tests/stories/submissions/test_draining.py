"""A process that drains serves on, and begins nothing that it could not end."""

import asyncio

from tests.support.start_fixtures import StartGateway, StartSandbox


async def test_a_process_that_drains_takes_tasks_and_sends_none(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox()
    gateway = await start_gateway(sandbox)
    await gateway.until((await gateway.submit())["id"], "running")
    gateway.gateway.drain()
    task = await gateway.submit()
    await asyncio.sleep(10)
    assert (await gateway.task(task["id"]))["status"] == "queued"
    assert sandbox.calls.by_operation["submit"] == 1
