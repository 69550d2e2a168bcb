"""The outbound log over HTTP: whose it is, how it is read, and how its rows are sent again."""

import json
from datetime import datetime, timedelta
from typing import Any

import httpx
from standardwebhooks import Webhook

from app.notifications.deliver import Notifier
from tests.support.databases import on_sqlite
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running
from tests.support.notifications import BUSY, client_of, deliver, watching
from tests.support.receiver import OK, endless, plain
from tests.support.song_callbacks import assert_problem
from tests.support.start_fixtures import StartGateway

GONE = plain("410 Gone")
SHOWN = {
    "id",
    "client",
    "task_id",
    "type",
    "url",
    "status",
    "attempts",
    "created_at",
    "next_attempt_at",
    "last_attempt_at",
    "last_status",
    "last_error",
    "ended_at",
}
NOBODYS = "0192aaaa-0000-7000-8000-000000000000"


async def listed(gateway: Running, headers: dict[str, str] | None = None, **params: Any) -> dict[str, Any]:
    answer = await gateway.api.get("/v1/notifications", params=params, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_client_sees_its_own_and_an_admin_all_newest_first(gateway: Running, notifier: Notifier) -> None:
    studio, radio = await client_of(gateway), await client_of(gateway, "radio")
    async with watching(GONE) as gone, watching() as receiver:
        tasks = [await studio.canceled(gone.url("127.0.0.1", "/a?token=1")), await studio.canceled(receiver.url())]
        theirs = await radio.canceled(receiver.url())
        await deliver(notifier)
        tasks.append(await studio.canceled(receiver.url()))
    own = await studio.notifications()
    assert [one["task_id"] for one in own] == [task["id"] for task in reversed(tasks)]
    assert [one["status"] for one in own] == ["pending", "delivered", "dead"]
    assert all(set(one) == SHOWN and one["client"] == "studio" for one in own)
    assert own[2]["url"].endswith("/a?token=1")
    assert own[0]["attempts"] == 0
    assert own[0]["last_attempt_at"] is None
    assert [one["task_id"] for one in await radio.notifications()] == [theirs["id"]]
    everybodys = (await listed(gateway))["data"]
    assert [one["client"] for one in everybodys] == ["studio", "radio", "studio", "studio"]
    # Filters.
    for status in ("pending", "delivered", "dead"):
        assert [one["status"] for one in await studio.notifications(status=status)] == [status]
    assert [one["task_id"] for one in await studio.notifications(task_id=tasks[1]["id"])] == [tasks[1]["id"]]
    assert await studio.notifications(task_id=theirs["id"]) == []
    assert_problem(await gateway.api.get("/v1/notifications?status=lost"), 422)
    assert_problem(await gateway.api.get("/v1/notifications?limit=201"), 422)
    assert (await gateway.api.get("/v1/notifications", headers={"Authorization": ""})).status_code == 401


@on_sqlite
async def test_pages_follow_each_other_and_a_cursor_belongs_to_its_filters(
    gateway: Running, notifier: Notifier
) -> None:
    studio, radio = await client_of(gateway), await client_of(gateway, "radio")
    async with watching() as receiver:
        tasks = [await studio.canceled(receiver.url()) for _ in range(5)]
    seen: list[Any] = []
    cursor: dict[str, Any] = {}
    while True:
        page = await listed(gateway, studio.headers, limit=2, **cursor)
        seen += [one["task_id"] for one in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == [task["id"] for task in reversed(tasks)]
    for headers, other in (
        (studio.headers, {"status": "pending"}),
        (studio.headers, {"task_id": tasks[0]["id"]}),
        (radio.headers, {}),
        (None, {}),
        (studio.headers, {"cursor": "xyz"}),
    ):
        answer = await gateway.api.get("/v1/notifications", params={**cursor, **other}, headers=headers)
        assert_problem(answer, 400, "bad_cursor")


async def test_one_is_sent_again_under_its_id_with_the_whole_schedule(
    gateway: Running, notifier: Notifier, clock: ScaledClock
) -> None:
    studio, radio = await client_of(gateway), await client_of(gateway, "radio")
    async with watching(GONE, BUSY, OK) as receiver:
        await studio.canceled(receiver.url())
        await deliver(notifier)
        dead = await studio.one()
        assert dead["status"] == "dead"
        path = f"/v1/notifications/{dead['id']}/redeliver"
        for headers, url in (
            (radio.headers, path),
            (studio.headers, f"/v1/notifications/{NOBODYS}/redeliver"),
            (studio.headers, "/v1/notifications/none/redeliver"),
        ):
            assert_problem(await gateway.api.post(url, headers=headers), 404, "not_found")
        assert (await studio.one()) == dead
        answer = await gateway.api.post(path, headers=studio.headers)
        assert answer.status_code == 200
        assert (answer.json()["status"], answer.json()["attempts"], answer.json()["ended_at"]) == ("pending", 0, None)
        await deliver(notifier)
        again = await studio.one()
        assert (again["status"], again["attempts"]) == ("pending", 1)
        wait = datetime.fromisoformat(again["next_attempt_at"]) - datetime.fromisoformat(again["last_attempt_at"])
        assert timedelta(seconds=4) <= wait <= timedelta(seconds=6)
        clock.skip(7)
        await deliver(notifier)
        assert (await studio.one())["status"] == "delivered"
        # An admin may, and what was delivered too.
        assert (await gateway.api.post(path)).status_code == 200
        await deliver(notifier)
    assert len(receiver.bodies) == 4
    assert len(set(receiver.seen())) == len(set(receiver.bodies)) == 1


async def test_all_dead_ones_since_a_time_are_sent_again_or_only_counted(
    gateway: Running, notifier: Notifier, clock: ScaledClock
) -> None:
    studio, radio = await client_of(gateway), await client_of(gateway, "radio")

    async def again(headers: dict[str, str] | None = studio.headers, **body: Any) -> httpx.Response:
        return await gateway.api.post("/v1/notifications/redeliver", json=body, headers=headers)

    async with watching(GONE, GONE, GONE, GONE, OK) as receiver:
        await studio.canceled(receiver.url())
        await deliver(notifier)
        clock.skip(60)
        since = clock.now().isoformat()
        await studio.canceled(receiver.url())
        await studio.canceled(receiver.url())
        await radio.canceled(receiver.url())
        await deliver(notifier)
        assert len(await studio.notifications(status="dead")) == 3
        assert (await again(since=since, dry_run=True)).json() == {"count": 2, "dry_run": True}
        assert len(await studio.notifications(status="dead")) == 3
        assert_problem(await again(radio.headers, since=since, client="studio"), 403)
        admins = await again(None, since=since, client="studio", dry_run=True)
        assert admins.json()["count"] == 2
        assert (await again(None, since=since)).json()["count"] == 0, "an admin's own ones"
        assert (await again(since=since)).json() == {"count": 2, "dry_run": False}
        await deliver(notifier)
        assert len(await studio.notifications(status="delivered")) == 2
        assert len(await studio.notifications(status="dead")) == 1
        assert len(await radio.notifications(status="dead")) == 1
        assert (await again(since=since)).json()["count"] == 0
        assert (await again(None, since=since, client="radio", dry_run=True)).json()["count"] == 1
        assert (await gateway.api.delete("/v1/clients/radio")).status_code == 204
        for dry_run in (True, False):
            revoked = await again(None, since=since, client="radio", dry_run=dry_run)
            assert revoked.json()["count"] == 0, "who was revoked is notified of nothing"


@on_sqlite
async def test_a_bad_request_to_send_again_is_refused(gateway: Running) -> None:
    refused = [
        {},
        {"since": "yesterday"},
        {"since": "2026-01-01T00:00:00"},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"since": "9999-12-31T23:59:59-14:00"},
        {"since": "2026-01-01T00:00:00Z", "dry_run": "maybe"},
        {"since": "2026-01-01T00:00:00Z", "client": "a\x00b"},
        {"since": "2026-01-01T00:00:00Z", "more": 1},
        [],
    ]
    answers = [(await gateway.api.post("/v1/notifications/redeliver", json=body), body) for body in refused]
    assert [(answer.status_code, body) for answer, body in answers] == [(422, body) for body in refused]
    for answer, _ in answers:
        assert_problem(answer, 422, "invalid_request")


async def test_a_receiver_is_tried_with_a_signed_ping_and_its_answer_is_shown(
    gateway: Running, clock: ScaledClock
) -> None:
    studio = await client_of(gateway)

    async def ping(url: str, **more: Any) -> httpx.Response:
        return await gateway.api.post("/v1/notifications/test", json={"url": url, **more}, headers=studio.headers)

    async with watching(
        plain("202 Accepted", body=b"well received"), plain("500 Oops", body=b"a\x1bfault"), GONE
    ) as at:
        answers = [(await ping(at.url())).json() for _ in range(3)]
    sent = [Webhook(studio.secret).verify(body, headers) for headers, body in zip(at.headers, at.bodies, strict=True)]
    assert [one["type"] for one in sent] == ["gateway.ping"] * 3
    assert [one["webhook_id"] for one in answers] == at.seen()
    assert [(one["delivered"], one["outcome"], one["status"], one["answer"]) for one in answers] == [
        (True, "delivered", 202, "well received"),
        (False, "rejected", 500, "a fault"),
        (False, "gone", 410, ""),
    ]
    closed = (await ping(at.url())).json()
    assert (closed["delivered"], closed["outcome"], closed["status"]) == (False, "connection_failed", None)
    assert await studio.notifications() == [], "a ping is no notification"
    huge = endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536)
    async with watching(huge) as receiver:
        answer = (await ping(receiver.url())).json()
    assert (answer["delivered"], answer["answer"]) == (True, "x" * 1024)
    assert (await gateway.api.post("/v1/notifications/test", json={}, headers={"Authorization": ""})).status_code == 401


async def test_a_ping_is_bound_by_the_same_rules_of_egress(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False)
    async with watching() as receiver:
        for host in ("127.0.0.1", "localhost", "[::1]"):
            answer = await gateway.api.post("/v1/notifications/test", json={"url": receiver.url(host)})
            assert answer.json()["outcome"] == "address_not_public"
        assert receiver.connections == 0


BAD_URLS = [
    "",
    "hooks.example/x",
    "ftp://hooks.example/",
    "http://",
    "https://user:pw-secret@hooks.example/",
    "https://hooks.example:0/",
    "https://hooks.example:99999/",
    "https://ho oks.example/",
    "https://hooks.example/" + "x" * 3000,
    "javascript:alert(1)",
]


@on_sqlite
async def test_what_can_be_no_receivers_url_is_refused_by_the_name_of_its_field(gateway: Running) -> None:
    studio = await client_of(gateway)
    for url in BAD_URLS:
        task = {"kind": "lyrics.generate", "params": {"prompt": "x"}, "webhook_url": url}
        for path, body, field in (
            ("/v1/tasks", task, "webhook_url"),
            ("/v1/tasks/batch", {"tasks": [{**task, "webhook_url": None}, task]}, "tasks.1.webhook_url"),
            ("/v1/notifications/test", {"url": url}, "url"),
        ):
            answer = await gateway.api.post(path, json=body, headers=studio.headers)
            assert answer.status_code == 422, (url, path)
            problem = assert_problem(answer, 422, "invalid_request")
            assert [one["path"] for one in problem["errors"]] == [field], url
            assert "pw-secret" not in answer.text
    assert (await gateway.api.get("/v1/tasks", headers=studio.headers)).json()["data"] == []


async def test_one_notification_has_its_body_and_its_attempts(
    gateway: Running, notifier: Notifier, clock: ScaledClock
) -> None:
    studio = await client_of(gateway)
    async with watching(BUSY, OK) as receiver:
        task = await studio.canceled(receiver.url())
        [row] = await studio.notifications()
        path = f"/v1/notifications/{row['id']}"

        async def read() -> dict[str, Any]:
            answer = await gateway.api.get(path, headers=studio.headers)
            assert answer.status_code == 200, answer.text
            return answer.json()

        fresh = await read()
        assert (fresh["attempt_log"], fresh["body"]["type"]) == ([], "task.canceled")
        await deliver(notifier)
        clock.skip(10)
        await deliver(notifier)
        bodies = receiver.bodies
    ended = await read()
    assert [(one["status"], one["error"], one["answer"]) for one in ended["attempt_log"]] == [
        (500, "rejected", "not today"),
        (200, None, ended["attempt_log"][1]["answer"]),
    ]
    assert ended["attempts"] == 2
    assert ended["body"] == fresh["body"] == json.loads(bodies[0]) == json.loads(bodies[1])
    assert ended["body"]["data"]["id"] == task["id"]
    other = await client_of(gateway, "radio")
    assert (await gateway.api.get(path, headers=other.headers)).status_code == 404
    assert (await gateway.api.get(path)).status_code == 200  # an admin's
