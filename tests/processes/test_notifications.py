"""A process that is killed while it posts loses nothing; and what a process says of its posts holds no secret."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx

from tests.support.commands import environment, running
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import PARAMS, eventually, running_gateway
from tests.support.notifications import BUSY, once, signed_by, watching
from tests.support.receiver import OK

SIGNED_PATH = "/hook?token=hook-token-0123456789abcdef"


async def test_what_a_killed_process_was_posting_is_posted_again_after_its_lease(
    database_url: str, tmp_path: Path
) -> None:
    never = asyncio.Event()
    async with watching(once(never), OK) as receiver:
        env = environment(database_url, egress_allow_private="true", log_level="debug")
        async with running("serve", env=env, cwd=tmp_path) as killed:
            made = (await killed.api.post("/v1/clients", json={"name": "studio"})).json()
            headers = {"Authorization": f"Bearer {made['api_key']}"}
            body = {"kind": "song.generate", "params": PARAMS["song.generate"], "webhook_url": receiver.url()}
            task = (await killed.api.post("/v1/tasks", json=body, headers=headers)).json()
            # Nobody listens where the vendor should be: the task stays queued, and can be canceled.
            await _canceled(killed.api, task["id"], headers)

            async def posting() -> list[bytes]:
                return receiver.bodies

            await eventually(posting, timeout_s=30)
            await killed.kill()
        clock = ScaledClock()
        async with running_gateway(database_url, clock=clock, egress_allow_private=True) as second:
            [found] = (await second.api.get("/v1/notifications")).json()["data"]
            assert (found["status"], found["attempts"]) == ("pending", 0)
            await asyncio.sleep(1)
            assert len(receiver.bodies) == 1, "the lease of the dead one still holds"
            clock.skip(31)

            async def delivered() -> list[dict[str, Any]]:
                page = (await second.api.get("/v1/notifications", params={"status": "delivered"})).json()
                return page["data"]

            [found] = await eventually(delivered, timeout_s=30)
            assert found["attempts"] == 1
    assert receiver.seen() == [found["id"]] * 2
    assert len(set(receiver.bodies)) == 1
    assert all(signed_by(made["webhook_secret"], *one) for one in zip(receiver.headers, receiver.bodies, strict=True))


async def test_no_log_line_and_no_metric_tells_a_secret(database_url: str, tmp_path: Path) -> None:
    # The first two answers are the ping's and the notification's, whichever comes first.
    async with watching(BUSY, BUSY, OK) as receiver:
        env = environment(database_url, egress_allow_private="true", log_level="debug")
        async with running("serve", env=env, cwd=tmp_path) as served:
            made = (await served.api.post("/v1/clients", json={"name": "studio"})).json()
            rotated = (await served.api.post("/v1/clients/studio/webhook-secret")).json()
            headers = {"Authorization": f"Bearer {made['api_key']}"}
            body = {
                "kind": "song.generate",
                "params": {**PARAMS["song.generate"], "prompt": "my secret prompt"},
                "webhook_url": receiver.url(path=SIGNED_PATH),
            }
            task = (await served.api.post("/v1/tasks", json=body, headers=headers)).json()
            await _canceled(served.api, task["id"], headers)
            ping = {"url": receiver.url(path=SIGNED_PATH)}
            await served.api.post("/v1/notifications/test", json=ping, headers=headers)
            await served.api.post("/v1/notifications/test", json={"url": "http://u:hook-token-0123@x/"})

            async def posted() -> bool:
                return len(receiver.bodies) >= 3

            await eventually(posted, timeout_s=30)
            told = (await served.api.get("/metrics")).text
            told += (await served.api.get("/v1/clients")).text
            await served.terminate()
            told += served.log.read_text()
            events = [line["event"] for line in served.lines()]
    assert "notification.failed" in events
    assert "gateway_notifications_total" in told
    signatures = [one.partition(",")[2] for had in receiver.headers for one in had["webhook-signature"].split(" ")]
    secrets = [made["webhook_secret"], rotated["webhook_secret"]]
    secret_words = [
        *secrets,
        *(one.removeprefix("whsec_") for one in secrets),
        made["api_key"],
        "hook-token-0123",
        "my secret prompt",
        *signatures,
    ]
    assert [one for one in secret_words if one in told or json.dumps(one)[1:-1] in told] == []


async def _canceled(api: httpx.AsyncClient, task_id: str, headers: dict[str, str]) -> None:
    """Cancel a task as soon as it is queued."""

    async def canceled() -> bool:
        answer = await api.post(f"/v1/tasks/{task_id}/cancel", headers=headers)
        assert answer.status_code in (200, 409), answer.text
        return answer.status_code == 200

    await eventually(canceled, timeout_s=30)
