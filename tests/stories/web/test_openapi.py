"""The OpenAPI document: real requests and answers are what its schemas say, and its closed sets are the code's."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import pytest
from jsonschema_rs import Draft202012Validator

from app.api.app import rest_api
from app.limits.hold import Reason
from app.notifications.deliver import Notifier
from app.rules.status import TaskStatus
from app.rules.task import FailureCode, NotificationType
from app.tempolor import codes
from app.tempolor.kinds import FAMILIES, KINDS
from app.web import problems
from tests.support.databases import on_sqlite
from tests.support.gateway import PARAMS, SONG
from tests.support.notifications import deliver, watching
from tests.support.song_callbacks import done, song
from tests.support.start_fixtures import StartGateway, StartSandbox


def the_document() -> dict[str, Any]:
    """Made by whoever asks first: that takes half a second, and all workers load this module."""
    return rest_api("0").openapi()


def valid(schema: dict[str, Any], document: Any) -> bool:
    """Whether a document is what one of the document's schemas says."""
    return Draft202012Validator(_with_components(schema)).is_valid(document)


def check(schema: dict[str, Any], document: Any) -> None:
    """Raises ``ValidationError`` where it is not."""
    Draft202012Validator(_with_components(schema)).validate(document)


def component(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _with_components(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "components": {"schemas": the_document()["components"]["schemas"]}}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in the_document()["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def parts(node: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document."""
    if isinstance(node, dict):
        yield node
        for part in node.values():
            yield from parts(part)
    elif isinstance(node, list):
        for part in node:
            yield from parts(part)


GOOD: list[dict[str, Any]] = [
    *({"kind": kind, "params": params} for kind, params in PARAMS.items()),
    {"kind": "song.generate", "params": {**SONG, "lyrics": None, "mood": ["new"]}, "metadata": None},
    {"kind": "song.generate", "params": {**SONG, "lyrics": "l" * 3000}, "reference": "r", "webhook_url": None},
    {"kind": "song.extend", "params": {"item_id": "x", "start_time": 10.5}, "webhook_events": ["task.failed"]},
    {"kind": "midi.create", "params": {**PARAMS["midi.create"], "model": None}, "webhook_events": []},
]
BAD: list[Any] = [
    [],
    {"kind": "song.generate"},
    {"params": SONG},
    {"kind": "song.make", "params": SONG},
    {"kind": "song.external", "params": {}},
    {"kind": "song.generate", "params": {"prompt": "p"}},
    {"kind": "song.generate", "params": {**SONG, "prompt": 3}},
    {"kind": "song.generate", "params": {**SONG, "prompt": "p" * 1001}},
    {"kind": "song.generate", "params": {**SONG, "instrumental": "yes"}},
    {"kind": "song.extend", "params": {"item_id": "x", "start_time": 9}},
    {"kind": "stems.create", "params": SONG},
    {"kind": "lyrics.generate", "params": {"prompt": ""}},
    {"kind": "song.generate", "params": SONG, "reference": ""},
    {"kind": "song.generate", "params": SONG, "metadata": []},
    {"kind": "song.generate", "params": SONG, "webhook_events": ["task.done"]},
    {"kind": "song.generate", "params": SONG, "state": 1},
]


@on_sqlite
async def test_what_the_schema_of_a_request_allows_is_what_is_accepted(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False)
    for body in (*GOOD, *BAD):
        answer = await gateway.api.post("/v1/tasks", json=body)
        assert (answer.status_code == 202) == (body in GOOD), answer.text
        assert valid(component("TaskRequest"), body) == (body in GOOD), body
        assert valid(component("BatchRequest"), {"tasks": [body]}) == (body in GOOD), body


def test_every_known_param_has_a_title_and_a_description_and_unknown_ones_are_allowed() -> None:
    request = the_document()["components"]["schemas"]["TaskRequest"]
    assert request["discriminator"]["mapping"].keys() == KINDS.keys()
    for kind, target in request["discriminator"]["mapping"].items():
        task = the_document()["components"]["schemas"][target.rpartition("/")[2]]
        assert task["properties"]["kind"]["const"] == kind
        params = the_document()["components"]["schemas"][task["properties"]["params"]["$ref"].rpartition("/")[2]]
        assert params["additionalProperties"] is True
        assert params["properties"].keys() == KINDS[kind].params.model_fields.keys()
        for name, field in params["properties"].items():
            assert field.get("title"), (kind, name)
            assert field.get("description", "").endswith("."), (kind, name)
    # A generator would take a field with a default for one that has to be there.
    assert not [one for name in request["discriminator"]["mapping"].values() for one in parts(name) if "default" in one]


def test_closed_sets_are_the_codes() -> None:
    external = {family.external_kind for family in FAMILIES.values()}
    assert set(the_document()["components"]["schemas"]["TaskKind"]["enum"]) == {*KINDS, *external}
    assert the_document()["components"]["schemas"]["ErrorCode"]["enum"] == sorted(problems.CODES)
    assert {code for _, code in problems.TABLE.values()} <= problems.CODES.keys()
    assert set(the_document()["components"]["schemas"]["NotificationType"]["enum"]) == set(
        get_args(NotificationType.__value__)
    )
    assert {*Reason, "backing_off", "vendor_refused"} <= set(
        the_document()["components"]["schemas"]["WaitReason"]["enum"]
    )
    names = {one.name for family in FAMILIES.values() for one in family.shape.artifacts}
    assert the_document()["components"]["schemas"]["Artifacts"]["properties"].keys() == names
    assert the_document()["components"]["schemas"]["Artifact"]["properties"]["url"]["anyOf"] == [
        {"type": "string"},
        {"type": "null"},
    ]


def test_every_code_of_a_refusal_is_a_failure_code() -> None:
    known = set(get_args(FailureCode.__value__))
    meanings = [*codes.ON_SUBMIT.values(), *codes.ON_HTTP.values(), codes.UNDOCUMENTED, codes.KIND_NOT_OFFERED]
    assert {one.code for one in meanings} <= known
    assert {"expired", "generation_failed", "item_unknown_to_vendor", "submit_outcome_unknown"} <= known


def test_each_operation_has_a_plain_id_one_tag_that_is_described_and_its_codes() -> None:
    tags = [one["name"] for one in the_document()["tags"]]
    assert sorted(tags) == sorted(tag for group in the_document()["x-tagGroups"] for tag in group["tags"])
    for path, method, operation in operations():
        assert re.fullmatch(r"[a-z]+(?:[A-Z][a-z]*)+", operation["operationId"]), path
        assert [tag in tags for tag in operation["tags"]] == [True], (method, path)
        for status, response in operation["responses"].items():
            if status == "500" or "application/problem+json" not in response.get("content", {}):
                continue
            named = re.findall(r"(\w+)Problem\b", str(response["content"]))
            assert named, (method, path, status)
            for name in named:
                code = the_document()["components"]["schemas"][f"{name}Problem"]["properties"]["code"]["const"]
                assert problems.CODES[code] == int(status), (method, path)
                assert f"`{code}`" in response["description"]
    ids = {operation["operationId"] for _, _, operation in operations()}
    assert {"createTask", "listTasks", "getTask", "createTasks", "streamTask", "getMe"} <= ids


def test_its_examples_are_what_its_schemas_say() -> None:
    checked = 0
    for part in parts(the_document()):
        if "example" in part and isinstance(part.get("schema"), dict):
            check(part["schema"], part["example"])
            checked += 1
    for name, schema in the_document()["components"]["schemas"].items():
        for example in schema.get("examples", ()):
            check(component(name), example)
            checked += 1
    assert checked > 30


def test_its_keywords_are_those_of_json_schema() -> None:
    assert not [one for one in parts(the_document()) if one.keys() & {"ge", "le", "gt", "lt"}]


@pytest.mark.virtual_time
@on_sqlite
async def test_what_clients_are_answered_is_what_the_document_says(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    gateway = await start_gateway(await start_sandbox(scale=400))
    tasks = [await gateway.submit(kind, webhook_url="https://hooks.example/x") for kind in PARAMS]
    await gateway.call_back("lyrics", {"lyrics": [{"item_id": "of-nobody", "status": "succeeded"}]})
    finals = ("succeeded", "part_failed", "failed")
    songs = [await gateway.until(task["id"], *finals, timeout_s=300) for task in tasks]
    assert {one["kind"] for one in songs} == set(PARAMS)
    [sent] = (await gateway.api.get("/v1/notifications?limit=1")).json()["data"]
    [callback] = (await gateway.api.get("/v1/callbacks?limit=1")).json()["data"]
    ids = {
        "task_id": songs[0]["id"],
        "item_id": songs[0]["items"][0]["item_id"],
        "notification_id": sent["id"],
        "callback_id": callback["id"],
    }
    asked = 0
    for path, method, operation in operations():
        if (
            method != "get"
            or "/artifacts/" in path
            or "/lyrics." in path
            or path.endswith("/stream")
            or path == "/metrics"
        ):
            continue
        for query in ("", "?view=summary") if path == "/v1/tasks" else ("",):
            answer = await gateway.api.get(path.format(**ids) + query)
            response = operation["responses"][str(answer.status_code)]
            assert answer.status_code == 200, (path, answer.text)
            schema = response["content"]["application/json"]["schema"]
            check(schema, answer.json())
            asked += 1
    assert asked > 15
    for task in songs:
        check(component("Timeline"), (await gateway.api.get(f"/v1/tasks/{task['id']}/timeline")).json())
    problem = await gateway.api.post("/v1/tasks", json={"kind": "song.generate", "params": {}})
    check(component("InvalidRequestProblem"), problem.json())
    check(component("NotFoundProblem"), (await gateway.api.get("/v1/tasks/nothing")).json())


@pytest.mark.real_time
@on_sqlite
async def test_a_copy_of_a_file_is_shown_as_the_document_says(start_gateway: StartGateway, tmp_path: Path) -> None:
    gateway = await start_gateway(archive_url=f"file://{tmp_path}", egress_allow_private=True)
    task = await gateway.submit()
    await gateway.call_back("song", song("t2m_1", "running"), UUID(task["id"]))
    shown = await gateway.task(task["id"])
    assert shown["items"][0]["artifacts"]["audio"]["archive"]["status"] == "pending"
    check(component("Task"), shown)
    await gateway.call_back("song", song("t2m_1", "failed"), UUID(task["id"]))
    shown = await gateway.task(task["id"])
    assert shown["items"][0]["artifacts"]["audio"]["archive"]["reason"] == "artifact_failed"
    check(component("Task"), shown)


@on_sqlite
async def test_a_notification_is_what_its_webhook_says(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False, egress_allow_private=True)
    notifier = Notifier(gateway.gateway.context, gateway.gateway.webhooks)
    async with watching() as receiver:
        task = await gateway.submit(webhook_url=receiver.url())
        await gateway.call_back("song", done("t2m_1"), UUID(task["id"]))
        await gateway.api.post("/v1/notifications/test", json={"url": receiver.url()})
        await deliver(notifier)
        posted = [json.loads(body) for body in receiver.bodies]
    assert {one["type"] for one in posted} == {"gateway.ping", "task.running", "task.playable", "task.succeeded"}
    for body in posted:
        webhook = the_document()["webhooks"][body["type"]]["post"]["requestBody"]["content"]["application/json"]
        check(webhook["schema"], body)
        if body["type"] != "gateway.ping":
            check(component("WebhookEvent"), body)


def test_task_statuses_are_an_enum() -> None:
    assert the_document()["components"]["schemas"]["TaskStatus"]["enum"] == [status.value for status in TaskStatus]
