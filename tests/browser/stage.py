"""A gateway with something of everything on its pages: tasks of many states, callbacks that went wrong, notifications
that were given up, a hold."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from tests.support.direct_sql import Direct
from tests.support.gateway import Running

NOBODY: Final = "http://127.0.0.1:9/hooks"


@dataclass(frozen=True)
class Stage:
    """``paths``: every page of the console by its name."""

    gateway: Running
    paths: dict[str, str]


async def staged(gateway: Running, db: Direct) -> Stage:
    """Bring it all about, and leave submissions held."""
    song = await gateway.submit(reference="order-17", webhook_url=NOBODY)
    stems = await gateway.submit("stems.create", reference="taken apart")
    await gateway.call_back("song", b'{"songs": ', UUID(song["id"]))
    await gateway.until(song["id"], "succeeded", timeout_s=30)
    await gateway.until(stems["id"], "succeeded", timeout_s=30)
    await gateway.api.post("/v1/submissions/hold", json={"reason": "maintenance at the vendor"})
    queued, failed = await gateway.submit(), await gateway.submit("lyrics.generate")
    body = {"lyrics": [{"item_id": "lyr_1", "status": "failed", "err_msg": "the words are not allowed"}]}
    await gateway.call_back("lyrics", body, UUID(failed["id"]))
    assert (await gateway.task(failed["id"]))["status"] == "failed"
    await db.execute("UPDATE notifications SET status = 'dead', due_at = NULL, last_error = 'refused'")
    told = (await gateway.api.get("/v1/notifications")).json()["data"][0]["id"]
    called = (await gateway.api.get("/v1/callbacks", params={"disposition": "malformed"})).json()["data"][0]["id"]
    tasks = {"song": song, "stems": stems, "failed": failed, "queued": queued}
    paths = {"overview": "", "tasks": "/tasks", "try": "/try/song.generate", "try-stems": "/try/stems.create"}
    paths |= {name: f"/tasks/{task['id']}" for name, task in tasks.items()}
    paths |= {"inbox": "/callbacks", "callback": f"/callbacks/{called}", "notifications": "/notifications"}
    paths |= {"dead": "/notifications/dead", "notification": f"/notifications/{told}", "holds": "/holds", "api": "/api"}
    return Stage(gateway, paths | {"missing": "/nowhere"})
