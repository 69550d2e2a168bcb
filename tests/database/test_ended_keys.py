"""A key that was ended on one process is good on no other: requests, waits and streams by it end within seconds."""

import asyncio
from typing import Any

from tests.support.databases import on_postgresql
from tests.support.gateway import SONG
from tests.support.start_fixtures import StartGateway


def bearer(api_key: Any) -> dict[str, Any]:
    return {"Authorization": f"Bearer {api_key}"}


@on_postgresql
async def test_an_ended_key_is_good_nowhere_within_seconds(start_gateway: StartGateway) -> None:
    one, other = await start_gateway(workers=False), await start_gateway(workers=False)
    for name, method, path, body in (
        ("revoked", "DELETE", "", None),
        ("rotated", "POST", "/key", {"overlap_s": 0}),
        ("dropped", "DELETE", "/previous-key", None),
    ):
        mine = bearer((await one.api.post("/v1/clients", json={"name": name})).json()["api_key"])
        task = {"kind": "song.generate", "params": SONG}
        task_id = (await other.api.post("/v1/tasks", json=task, headers=mine)).json()["id"]
        if name == "dropped":
            await one.api.post(f"/v1/clients/{name}/key")
        waiting = asyncio.ensure_future(other.api.get(f"/v1/tasks/{task_id}?wait=30", headers=mine))
        async with (
            other.api.stream("GET", "/v1/stream", headers=mine) as everything,
            other.api.stream("GET", f"/v1/tasks/{task_id}/stream", headers=mine) as single,
        ):
            assert (everything.status_code, single.status_code) == (200, 200)
            ended = await one.api.request(method, f"/v1/clients/{name}{path}", json=body)
            assert ended.status_code in (200, 204), name
            assert (await other.api.get("/v1/tasks", headers=mine)).status_code == 401, name
            async with asyncio.timeout(5):
                assert (await waiting).status_code == 401, name
                await everything.aread()
                await single.aread()
