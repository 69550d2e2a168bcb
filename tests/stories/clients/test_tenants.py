"""Every route by everybody: who may call it, and that another client's ids look like ids that nobody has.

The routes are those of the OpenAPI document: one that is added and has no line here fails the test.
"""

from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID

import pytest

from tests.support.gateway import SONG, Running
from tests.support.song_callbacks import done
from tests.support.start_fixtures import StartGateway, StartSandbox

STRANGERS = ("nobody", "guess", "former")
NOTHING = {
    "task_id": "0192aaaa-0000-7000-8000-000000000000",
    "item_id": "t2m_of_nobody",
    "callback_id": "0192aaaa-0000-7000-8000-000000000001",
    "notification_id": "0192aaaa-0000-7000-8000-000000000002",
    "name": "nobody",
    "member": "a.flac",
    "form": "lrc",
}
ALL = (200, 200, 200)
OWN = (404, 200, 200)
ADMIN = (403, 403, 200)
MATRIX: dict[str, tuple[int, int, int] | None] = {
    # Another client, the client whose it is, an admin. None: no key is asked for.
    "POST /v1/tasks": (202, 202, 202),
    "GET /v1/tasks": ALL,
    "POST /v1/tasks/batch": (202, 202, 202),
    "POST /v1/tasks/adopt": (403, 403, 202),
    "GET /v1/tasks/{task_id}": OWN,
    "GET /v1/tasks/{task_id}/timeline": OWN,
    "GET /v1/tasks/{task_id}/stream": OWN,
    "POST /v1/tasks/{task_id}/cancel": OWN,
    "POST /v1/tasks/{task_id}/retry": (404, 202, 202),
    "POST /v1/tasks/{task_id}/refresh": OWN,
    # One that is queued has nothing to resolve.
    "POST /v1/tasks/{task_id}/resolve": (403, 403, 409),
    "GET /v1/items/{item_id}": OWN,
    # The vendor's link: no copies are kept here.
    "GET /v1/items/{item_id}/artifacts/{name}": (404, 307, 307),
    "GET /v1/items/{item_id}/artifacts/{name}/members": (404, 410, 410),
    "GET /v1/items/{item_id}/artifacts/{name}/members/{member}": (404, 410, 410),
    "GET /v1/items/{item_id}/lyrics.{form}": OWN,
    "POST /v1/uploads": (501, 501, 501),
    "GET /v1/stream": ALL,
    "GET /v1/account": ALL,
    "GET /v1/me": ALL,
    "PATCH /v1/me": ALL,
    "POST /v1/me/webhook-secret": ALL,
    "POST /v1/stream-tickets": (201, 201, 201),
    "GET /v1/callbacks": ADMIN,
    "GET /v1/callbacks/{callback_id}": ADMIN,
    "POST /v1/callbacks/{callback_id}/replay": ADMIN,
    "GET /v1/submissions": ADMIN,
    "POST /v1/submissions/hold": ADMIN,
    "POST /v1/submissions/release": ADMIN,
    "POST /v1/submissions/recover": ADMIN,
    "GET /v1/audit": ADMIN,
    "GET /v1/drift": ADMIN,
    "GET /v1/notifications": ALL,
    "POST /v1/notifications/test": ALL,
    "POST /v1/notifications/redeliver": ALL,
    "GET /v1/notifications/{notification_id}": OWN,
    "POST /v1/notifications/{notification_id}/redeliver": OWN,
    "GET /v1/clients": ADMIN,
    "POST /v1/clients": (403, 403, 201),
    "DELETE /v1/clients/{name}": (403, 403, 204),
    "DELETE /v1/clients/{name}/data": ADMIN,
    "POST /v1/clients/{name}/key": ADMIN,
    "DELETE /v1/clients/{name}/previous-key": (403, 403, 204),
    "POST /v1/clients/{name}/webhook-secret": ADMIN,
    "GET /healthz": None,
    "GET /readyz": None,
    "GET /backlog": None,
    "GET /metrics": None,
}


@dataclass
class World:
    """A gateway with everybody's keys. ``ids`` makes things of the client ``studio`` anew for each call, so that no
    call changes what the next one finds."""

    gateway: Running
    keys: dict[str, dict[str, str]] = field(default_factory=dict)
    numbers: Any = field(default_factory=count)

    async def people(self) -> None:
        for name, admin in (("radio", False), ("studio", False), ("chief", True), ("former", False)):
            made = await self.gateway.api.post("/v1/clients", json={"name": name, "admin": admin})
            self.keys[name] = {"Authorization": f"Bearer {made.json()['api_key']}"}
        assert (await self.gateway.api.delete("/v1/clients/former")).status_code == 204
        self.keys |= {"nobody": {"Authorization": ""}, "guess": {"Authorization": "Bearer tpg_" + "x" * 43}}

    async def task(self) -> dict[str, Any]:
        body = {"kind": "song.generate", "params": SONG, "webhook_url": "https://hooks.example/x"}
        answer = await self.gateway.api.post("/v1/tasks", json=body, headers=self.keys["studio"])
        assert answer.status_code == 202, answer.text
        return answer.json()

    async def ids(self, path: str) -> dict[str, str]:
        """Ids of things of studio's, of the sort that a path needs."""
        number, api = next(self.numbers), self.gateway.api
        if "clients/{name}" in path:
            made = await api.post("/v1/clients", json={"name": f"client {number}"})
            assert made.status_code == 201
            if path.endswith("/data"):
                assert (await api.delete(f"/v1/clients/client {number}")).status_code == 204
            return {"name": f"client {number}"}
        if "{" not in path:
            return {}
        task = await self.task()
        found = {"task_id": task["id"], "item_id": f"t2m_{number}", "name": "audio", "member": "a.flac", "form": "lrc"}
        if path.endswith(("/retry", "/refresh")) or "{notification_id}" in path:
            assert (await api.post(f"/v1/tasks/{task['id']}/cancel")).status_code == 200
        if "{notification_id}" in path:
            [told] = (await api.get("/v1/notifications", params={"task_id": task["id"]})).json()["data"]
            found["notification_id"] = told["id"]
        if "{item_id}" in path or "{callback_id}" in path:
            answer = await self.gateway.call_back("song", done(found["item_id"]), UUID(task["id"]))
            assert answer.status_code == 200
            listed = await api.get("/v1/callbacks", params={"task_id": task["id"]})
            found["callback_id"] = listed.json()["data"][0]["id"]
        return found

    def body(self, operation: str) -> dict[str, Any] | None:
        song, number = {"kind": "song.generate", "params": SONG}, next(self.numbers)
        bodies: dict[str, dict[str, Any]] = {
            "POST /v1/tasks": song,
            "POST /v1/tasks/batch": {"tasks": [song]},
            "POST /v1/tasks/adopt": {"family": "song", "item_ids": [f"t2m_adopted_{number}"]},
            "POST /v1/tasks/{task_id}/resolve": {"item_id": f"t2m_found_{number}"},
            "POST /v1/submissions/recover": {"sent_since": "2026-01-01T00:00:00Z", "dry_run": True},
            "POST /v1/notifications/test": {"url": "https://127.0.0.1:9/"},
            "POST /v1/notifications/redeliver": {"since": "2026-01-01T00:00:00Z"},
            "PATCH /v1/me": {"webhook_events": None},
            "POST /v1/clients": {"name": f"made {number}"},
        }
        return bodies.get(operation)

    async def call(self, operation: str, who: str, ids: dict[str, str], **more: Any) -> tuple[int, str]:
        """The status and the text of one call; of a stream only its beginning."""
        method, _, path = operation.partition(" ")
        body = self.body(operation)
        given: dict[str, Any] = {"json": body} if body is not None else {}
        url = path.format(**ids)
        # One id for all requests: it comes back in problems, and they are held against each other word for word.
        headers = {**self.keys[who], "X-Request-ID": "the-same"}
        async with self.gateway.api.stream(method, url, headers=headers, **given, **more) as answer:
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                return answer.status_code, ""
            return answer.status_code, (await answer.aread()).decode()


@pytest.fixture
async def world(start_gateway: StartGateway, start_sandbox: StartSandbox) -> World:
    # The sandbox only tells its account: nothing is sent or asked without loops.
    gateway = await start_gateway(await start_sandbox(), workers=False)
    gateway.gateway.services.meter.most_failures = 10**6
    world = World(gateway)
    await world.people()
    return world


async def _document(world: World) -> dict[str, dict[str, Any]]:
    paths = (await world.gateway.api.get("/openapi.json")).json()["paths"]
    # A callback's token is tried in tests/stories/callbacks.
    return {
        f"{method.upper()} {path}": one
        for path, methods in paths.items()
        if not path.startswith("/callbacks/")
        for method, one in methods.items()
    }


async def test_every_route_is_for_whom_the_matrix_says(world: World) -> None:
    operations = await _document(world)
    assert operations.keys() == MATRIX.keys(), "a route without a line in the matrix, or a line without a route"
    assert {name for name, one in operations.items() if not one["security"]} == {
        name for name, expected in MATRIX.items() if expected is None
    }
    wrong = []
    for operation, expected in MATRIX.items():
        everybody = dict.fromkeys(STRANGERS, 401) | dict(
            zip(("radio", "studio", "chief"), expected or (), strict=False)
        )
        ids = await world.ids(operation)
        for who in (*STRANGERS, "radio", "studio", "chief"):
            if who == "chief" and ids:
                # What studio did to its own has changed it.
                ids = await world.ids(operation)
            status, text = await world.call(operation, who, ids)
            wanted = 200 if expected is None else everybody[who]
            if status != wanted and not (operation == "GET /backlog" and status == 503):
                wrong.append(f"{operation} by {who}: {status}, not {wanted}: {text[:200]}")
    assert wrong == []


async def test_anothers_ids_cannot_be_told_from_ids_that_nobody_has(world: World) -> None:
    ids_in_paths = [operation for operation in MATRIX if "{" in operation]
    assert len(ids_in_paths) > 10
    for operation in ids_in_paths:
        ids = await world.ids(operation)
        for who in ("radio", "guess"):
            theirs, none = await world.call(operation, who, ids), await world.call(operation, who, NOTHING)
            assert theirs == none, (operation, who)
            assert theirs[0] in (401, 403, 404)
            assert not [one for one in ids.values() if one in theirs[1]]


async def test_nor_by_filters_and_bodies(world: World) -> None:
    ids = await world.ids("GET /v1/notifications/{notification_id}/redeliver")
    api, radio = world.gateway.api, {**world.keys["radio"], "X-Request-ID": "the-same"}
    for path, theirs, none in (
        ("/v1/notifications", {"task_id": ids["task_id"]}, {"task_id": NOTHING["task_id"]}),
        ("/v1/tasks", {"client": "studio"}, {"client": "nobody"}),
        ("/v1/tasks", {"reference": "studio's"}, {"reference": "nobody's"}),
    ):
        one, other = [await api.get(path, params=params, headers=radio) for params in (theirs, none)]
        assert (one.status_code, one.text) == (other.status_code, other.text)
        assert one.status_code == 403 or one.json()["data"] == []
    since = {"since": "2026-01-01T00:00:00Z"}
    one, other = [
        await api.post("/v1/notifications/redeliver", json={**since, "client": name}, headers=radio)
        for name in ("studio", "nobody")
    ]
    assert (one.status_code, one.text) == (other.status_code, other.text)
    assert one.status_code == 403
