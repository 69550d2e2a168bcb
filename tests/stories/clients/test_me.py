"""A client about itself: who it is, the webhook of its tasks, its secret, and tickets for its streams."""

from typing import Any

import pytest

from app.notifications.deliver import Notifier
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import SONG, Running
from tests.support.notifications import Told, client_of, deliver, signed_by, watching
from tests.support.server_sent_events import stream
from tests.support.song_callbacks import assert_problem
from tests.support.start_fixtures import StartGateway

HOOK = "https://hooks.example/tempolor"


@pytest.fixture
async def gateway(start_gateway: StartGateway, clock: ScaledClock) -> Running:
    return await start_gateway(workers=False, egress_allow_cidrs="127.0.0.0/8", clock=clock)


async def _change(studio: Told, **change: Any) -> dict[str, Any]:
    answer = await studio.gateway.api.patch("/v1/me", json=change, headers=studio.headers)
    assert answer.status_code == 200, answer.text
    shown = await studio.gateway.api.get("/v1/me", headers=studio.headers)
    assert shown.json() == answer.json()
    return shown.json()


async def test_a_client_sees_itself(gateway: Running) -> None:
    studio = await client_of(gateway)
    found = (await gateway.api.get("/v1/me", headers=studio.headers)).json()
    assert (found["name"], found["admin"]) == ("studio", False)
    assert (found["webhook_url"], found["webhook_events"]) == (None, None)
    assert (await gateway.api.get("/v1/me")).json()["admin"] is True
    assert (await gateway.api.get("/v1/me", headers={"Authorization": ""})).status_code == 401


async def test_tasks_that_name_no_webhook_have_the_default_of_their_client(gateway: Running) -> None:
    studio = await client_of(gateway)
    before = await studio.submit(None)
    events = ["task.succeeded", "task.failed"]
    await _change(studio, webhook_url=HOOK)
    await _change(studio, webhook_events=events)
    own = await studio.submit(None)
    other = await studio.submit("https://other.example", webhook_events=[])
    assert [(task["webhook_url"], task["webhook_events"]) for task in (before, own, other)] == [
        (None, None),
        (HOOK, events),
        ("https://other.example", []),
    ]
    batch = {"tasks": [{"kind": "song.generate", "params": SONG}]}
    made = (await gateway.api.post("/v1/tasks/batch", json=batch, headers=studio.headers)).json()
    assert made["data"][0]["webhook_url"] == HOOK
    assert (await gateway.submit())["webhook_url"] is None  # another client's
    await _change(studio, webhook_url=None, webhook_events=None)
    assert (await studio.submit(None))["webhook_url"] is None
    # What was submitted before keeps what it had, and a retry has what its task had.
    await gateway.api.post(f"/v1/tasks/{own['id']}/cancel", headers=studio.headers)
    again = await gateway.api.post(f"/v1/tasks/{own['id']}/retry", headers=studio.headers)
    assert (again.json()["webhook_url"], again.json()["webhook_events"]) == (HOOK, events)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"webhook_url": "http://10.0.0.1/"}, "webhook_url"),
        ({"webhook_url": "ftp://a"}, "webhook_url"),
        ({"webhook_url": 7}, "webhook_url"),
        ({"webhook_events": ["task.gone"]}, "webhook_events.0"),
        ({"webhook_events": "task.failed"}, "webhook_events"),
        ({"name": "other"}, "name"),
    ],
)
async def test_a_wrong_change_is_refused_by_its_place(gateway: Running, change: dict[str, Any], path: str) -> None:
    answer = await gateway.api.patch("/v1/me", json=change)
    assert_problem(answer, 422, "invalid_request")
    assert [fault["path"] for fault in answer.json()["errors"]] == [path]


async def test_only_the_chosen_types_are_notified(gateway: Running) -> None:
    studio = await client_of(gateway)
    async with watching() as receiver:
        await studio.canceled(receiver.url(), webhook_events=["task.canceled"])
        await studio.canceled(receiver.url(), webhook_events=["task.succeeded"])
        await studio.canceled(receiver.url(), webhook_events=[])
        await deliver(Notifier(gateway.gateway.context, gateway.gateway.webhooks))
    assert [(sent["type"], sent["status"]) for sent in await studio.notifications()] == [("task.canceled", "delivered")]


async def test_a_client_rotates_its_own_secret(gateway: Running) -> None:
    studio = await client_of(gateway)
    answer = await gateway.api.post("/v1/me/webhook-secret", headers=studio.headers)
    assert answer.json()["name"] == "studio"
    async with watching() as receiver:
        await studio.canceled(receiver.url())
        await deliver(Notifier(gateway.gateway.context, gateway.gateway.webhooks))
        [headers], [body] = receiver.headers, receiver.bodies
    assert signed_by(studio.secret, headers, body)
    assert signed_by(answer.json()["webhook_secret"], headers, body)


async def _ticket(studio: Told) -> str:
    answer = await studio.gateway.api.post("/v1/stream-tickets", headers=studio.headers)
    assert answer.status_code == 201, answer.text
    return answer.json()["ticket"]


NO_KEY = {"Authorization": ""}


async def test_a_ticket_opens_one_stream_of_its_client(gateway: Running) -> None:
    studio = await client_of(gateway)
    task = await studio.submit(None)
    for path in (f"/v1/tasks/{task['id']}/stream", "/v1/stream"):
        ticket = await _ticket(studio)
        async with stream(gateway.api, f"{path}?ticket={ticket}", headers=NO_KEY):
            pass
        again = await gateway.api.get(path, params={"ticket": ticket}, headers=NO_KEY)
        assert_problem(again, 401, "unauthenticated")
    strange = await gateway.submit()
    answer = await gateway.api.get(
        f"/v1/tasks/{strange['id']}/stream", params={"ticket": await _ticket(studio)}, headers=NO_KEY
    )
    assert answer.status_code == 404


async def test_a_ticket_is_good_for_a_minute_for_streams_and_as_long_as_its_key(
    gateway: Running, clock: ScaledClock
) -> None:
    studio = await client_of(gateway)
    elsewhere = await gateway.api.get("/v1/tasks", params={"ticket": await _ticket(studio)}, headers=NO_KEY)
    assert elsewhere.status_code == 401
    late = await _ticket(studio)
    clock.skip(60)
    assert (await gateway.api.get("/v1/stream", params={"ticket": late}, headers=NO_KEY)).status_code == 401
    revoked = await _ticket(studio)
    await gateway.api.delete("/v1/clients/studio")
    assert (await gateway.api.get("/v1/stream", params={"ticket": revoked}, headers=NO_KEY)).status_code == 401
