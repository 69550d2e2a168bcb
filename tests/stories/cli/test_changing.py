"""Tasks that are submitted, retried and canceled, and notifications that are sent again, from the command line."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import call, good
from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.gateway import SECRET, SONG, Running
from tests.support.notifications import client_of

NOBODYS = "0192aaaa-0000-7000-8000-000000000000"
PARAMS = json.dumps(SONG)
SUBMIT = ("tasks", "submit", "song.generate", "--client", "studio")
pytestmark = on_sqlite


async def acts(gateway: Running) -> list[tuple[str, str, dict[str, Any]]]:
    found = (await gateway.api.get("/v1/audit")).json()["data"]
    assert all(one["actor"].startswith("cli:") for one in found if one["action"] != "clients.create")
    return [(one["action"], one["target"], one["detail"]) for one in found]


async def test_a_submitted_task_is_as_if_its_client_had_sent_it(
    gateway: Running, env: dict[str, str], tmp_path: Path
) -> None:
    studio = await client_of(gateway, "studio")
    more = ("--reference", "order-17", "--metadata", '{"for": "Ada"}', "--idempotency-key", "order-17")
    (tmp_path / "params.json").write_text(PARAMS)
    given = (PARAMS, f"@{tmp_path / 'params.json'}")
    [task_id] = {(await good(*SUBMIT, "--params", params, *more, env=env)).out.strip() for params in given}
    task = (await gateway.api.get(f"/v1/tasks/{task_id}", headers=studio.headers)).json()
    assert (task["client"], task["params"], task["status"]) == ("studio", SONG, "queued")
    # One key, one task: also where the client itself sends the same.
    body = {"kind": "song.generate", "params": SONG, "reference": "order-17", "metadata": {"for": "Ada"}}
    headers = studio.headers | {"Idempotency-Key": "order-17"}
    again = await gateway.api.post("/v1/tasks", json=body, headers=headers)
    assert (again.status_code, again.json()["id"]) == (200, task_id)
    assert (await acts(gateway))[0] == ("tasks.submit", task_id, {"client": "studio"})
    assert len(await acts(gateway)) == 2
    printed = await good(*SUBMIT, "--params", PARAMS, "--json", env=env)
    assert json.loads(printed.out).keys() == task.keys()


async def test_its_webhook_is_the_one_that_is_given_or_its_clients(gateway: Running, env: dict[str, str]) -> None:
    studio = await client_of(gateway, "studio")
    given = {"webhook_url": "https://hooks.example/default"}
    assert (await gateway.api.patch("/v1/me", json=given, headers=studio.headers)).status_code == 200
    task_id = (await good(*SUBMIT, "--params", PARAMS, env=env)).out.strip()
    assert (await gateway.task(task_id))["webhook_url"] == "https://hooks.example/default"
    hook = ("--webhook-url", "https://hooks.example/a", "--webhook-event", "task.succeeded")
    task_id = (await good(*SUBMIT, "--params", PARAMS, *hook, env=env)).out.strip()
    task = await gateway.task(task_id)
    assert (task["webhook_url"], task["webhook_events"]) == ("https://hooks.example/a", ["task.succeeded"])


async def test_params_come_from_standard_input(
    gateway: Running, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await client_of(gateway, "studio")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PARAMS.encode())))
    task_id = (await good(*SUBMIT, "--params", "-", env=env)).out.strip()
    assert (await gateway.task(task_id))["params"] == SONG


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*SUBMIT, "--params", '{"prompt": 5}'), "params.prompt: it must be a text"),
        ((*SUBMIT, "--params", "{"), "JSON"),
        ((*SUBMIT, "--params", "@/nowhere.json"), "/nowhere.json"),
        ((*SUBMIT, "--params", json.dumps(SONG | {"x": SECRET})), "a secret of this gateway"),
        ((*SUBMIT, "--params", json.dumps(SONG | {"callback_url": "x"})), "the gateway sets it"),
        ((*SUBMIT, "--params", PARAMS, "--webhook-url", "ftp://a"), "webhook_url"),
        ((*SUBMIT, "--params", PARAMS, "--webhook-url", "http://127.0.0.1/"), "webhook_url"),
        (("tasks", "submit", "song.sing", "--client", "studio", "--params", "{}"), "kind"),
        (("tasks", "submit", "song.generate", "--client", "nobody", "--params", PARAMS), "no such client"),
        (("tasks", "submit", "song.generate", "--client", "gone", "--params", PARAMS), "no such client"),
    ],
)
async def test_what_the_api_would_refuse_is_refused(
    gateway: Running, env: dict[str, str], arguments: tuple[str, ...], said: str
) -> None:
    for name in ("studio", "gone"):
        await client_of(gateway, name)
    await gateway.api.delete("/v1/clients/gone")
    ended = await call(*arguments, env=env)
    assert (ended.code, ended.out) == (1, "")
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert (await gateway.api.get("/v1/tasks")).json()["data"] == []


async def test_a_task_is_canceled_and_retried_for_its_client(gateway: Running, env: dict[str, str]) -> None:
    studio = await client_of(gateway, "studio")
    task = await studio.submit(None, reference="order-17")
    assert (await call("tasks", "retry", task["id"], env=env)).code == 1
    canceled = json.loads((await good("tasks", "cancel", task["id"], "--json", env=env)).out)
    assert canceled == await gateway.task(task["id"])
    assert canceled["status"] == "canceled"
    assert (await call("tasks", "cancel", task["id"], env=env)).code == 1
    new_id = (await good("tasks", "retry", task["id"], env=env)).out.strip()
    new = await gateway.task(new_id)
    assert (new["retry_of"], new["client"], new["reference"]) == (task["id"], "studio", "order-17")
    assert (await acts(gateway))[:2] == [
        ("tasks.retry", task["id"], {"client": "studio", "task_id": new_id}),
        ("tasks.cancel", task["id"], {"client": "studio"}),
    ]
    for command in ("cancel", "retry"):
        missing = await call("tasks", command, NOBODYS, env=env)
        assert (missing.code, missing.err.splitlines()[-1]) == (1, "there is no such task")


async def test_notifications_are_sent_again(gateway: Running, env: dict[str, str], db: Direct) -> None:
    studio, other = await client_of(gateway, "studio"), await client_of(gateway, "other")
    for client in (studio, studio, other):
        await client.canceled("https://hooks.example/a")

    async def statuses() -> list[tuple[str, str]]:
        found = (await gateway.api.get("/v1/notifications")).json()["data"]
        return sorted((one["client"], one["status"]) for one in found)

    await db.execute("UPDATE notifications SET status = 'dead', due_at = NULL")
    assert await statuses() == [("other", "dead"), ("studio", "dead"), ("studio", "dead")]
    dead = ("notifications", "redeliver", "--client", "studio", "--since", "2020-01-01T00:00:00Z")
    assert (await good(*dead, "--dry-run", env=env)).out == "2 dead.\n"
    # Nobody is there to agree.
    asked = await call(*dead, env=env)
    assert (asked.code, "2 dead notifications of 'studio'" in asked.err) == (1, True)
    assert ("studio", "pending") not in await statuses()
    sent = await good(*dead, "--yes", "--json", env=env)
    assert json.loads(sent.out) == {"count": 2, "dry_run": False}
    assert await statuses() == [("other", "dead"), ("studio", "pending"), ("studio", "pending")]
    [one] = await other.notifications()
    again = await good("notifications", "redeliver", one["id"], "--json", env=env)
    [now] = await other.notifications()
    assert (json.loads(again.out), now["status"]) == (now, "pending")
    assert {act[0] for act in await acts(gateway)} == {"clients.create", "notifications.redeliver"}
    for refused in (
        [NOBODYS],
        [],
        ["--client", "studio"],
        [one["id"], "--client", "studio"],
        ["--client", "nobody", "--since", "2020-01-01T00:00:00Z"],
    ):
        assert (await call("notifications", "redeliver", *refused, env=env)).code == 1


async def test_a_webhook_secret_is_rotated(gateway: Running, env: dict[str, str]) -> None:
    await client_of(gateway, "studio")
    new = json.loads((await good("clients", "rotate-webhook-secret", "studio", env=env)).out)
    assert new["name"] == "studio"
    assert new["webhook_secret"].startswith("whsec_")
    assert (await acts(gateway))[0] == ("clients.rotate_webhook_secret", "studio", {})
    assert (await call("clients", "rotate-webhook-secret", "nobody", env=env)).code == 1


async def test_a_link_to_the_console_is_printed_and_nothing_else(gateway: Running, env: dict[str, str]) -> None:
    await client_of(gateway, "studio")
    printed = await good("console-link", "studio", "--url", "https://gateway.example/", env=env)
    url, _, ticket = printed.out.strip().partition("#")
    assert url == "https://gateway.example/console/link"
    answer = await gateway.api.post("/console/link", data={"ticket": ticket})
    assert answer.status_code == 303
    assert await acts(gateway) == [("console.link", "studio", {}), ("clients.create", "studio", {"admin": False})]
    failed = await call("console-link", "nobody", env=env)
    assert (failed.code, "there is no such client" in failed.err) == (1, True)
