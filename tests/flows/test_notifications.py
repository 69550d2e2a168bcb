"""Notifications: written with the change, posted signed, repeated until the receiver takes them."""

import pytest
from standardwebhooks import Webhook

from tests.caller.receiver import receiving
from tests.support.gateway import eventually


async def _told(receiver, count):
    async def enough():
        return len(receiver.bodies) >= count

    await eventually(enough, timeout_s=30)
    return list(zip(receiver.headers, receiver.bodies, strict=True))


@pytest.fixture
async def gateway(start_gateway, start_sandbox):
    sandbox = await start_sandbox(scale=200)
    return await start_gateway(sandbox, egress_allow_private=True)


async def test_each_milestone_is_told_once_and_signed(gateway):
    made = (await gateway.api.post("/v1/clients", json={"name": "studio"})).json()
    as_studio = {"Authorization": f"Bearer {made['api_key']}"}
    async with receiving() as receiver:
        body = {"kind": "song.generate", "params": {"prompt": "x", "model": "TemPolor v4.5"}, "webhook_url": receiver.url()}
        task = (await gateway.api.post("/v1/tasks", json=body, headers=as_studio)).json()
        await gateway.until(task["id"], "succeeded", "part_failed", timeout_s=30)
        requests = await _told(receiver, 3)
    told = [Webhook(made["webhook_secret"]).verify(body, headers) for headers, body in requests]
    print([one["type"] for one in told])
