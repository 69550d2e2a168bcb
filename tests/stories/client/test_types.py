"""What the client takes an answer for is what the API says of it: the same fields, of the same types."""

import inspect
import types
from dataclasses import fields
from datetime import datetime
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

import tempolor_gateway_client as client
from app.api.app import rest_api

OF = {
    "Task": client.Task,
    "Item": client.Item,
    "Artifact": client.Artifact,
    "TaskError": client.TaskError,
    "WaitingFor": client.WaitingFor,
    "ArchivedCopy": client.ArchivedCopy,
    "ExpectedTime": client.ExpectedTime,
    "TimelineEntry": client.TimelineEntry,
    "Notification": client.LoggedNotification,
    "NotificationWithBody": client.NotificationWithBody,
    "LoggedAttempt": client.LoggedAttempt,
    "PingAnswer": client.PingAnswer,
    "Account": client.Account,
    "Me": client.Me,
    "StreamTicket": client.StreamTicket,
    "UploadedFile": client.UploadedFile,
    "ZipMember": client.ZipMember,
}
RENAMED = {"from": "from_"}
"""Fields whose names are Python's own."""
PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list", "object": "dict"}


def schemas() -> dict[str, Any]:
    """Those of the document, which is not made before a test asks: it takes half a second."""
    return rest_api("0").openapi()["components"]["schemas"]


def told(schema: dict[str, Any]) -> set[str]:
    """The types that a schema allows, by the names of Python's; those of an empty one are any."""
    if not schema.keys() - {"title", "description"}:
        return {"Any"}
    if "anyOf" in schema:
        return set().union(*(told(one) for one in schema["anyOf"]))
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name in OF:
            return {name}
        return {"str"} if "enum" in schemas()[name] else {"dict"}
    if schema["type"] == "null":
        return {"None"}
    if schema.get("format") == "date-time":
        return {"datetime"}
    return {PLAIN[schema["type"]]}


def taken(hint: Any) -> set[str]:
    """The types of an annotation, in the same words."""
    if hint is Any:
        return {"Any"}
    if get_origin(hint) in (Union, types.UnionType):
        return set().union(*(taken(one) for one in get_args(hint)))
    if hint is types.NoneType:
        return {"None"}
    kind = get_origin(hint) or hint
    if kind is datetime:
        return {"datetime"}
    return {"list" if kind is tuple else kind.__name__}


@pytest.mark.parametrize("name", sorted(OF))
def test_a_result_has_the_fields_that_the_api_tells_of(name: str) -> None:
    kind = OF[name]
    told_of = {RENAMED.get(field, field): schema for field, schema in schemas()[name]["properties"].items()}
    hints = get_type_hints(kind)
    # `raw` is the answer itself.
    assert {one.name for one in fields(kind)} - {"raw"} == set(told_of)
    assert {field: taken(hints[field]) for field in told_of} == {field: told(one) for field, one in told_of.items()}


ACTIONS = {
    "createTask": "submit",
    "createTasks": "submit_many",
    "listTasks": "list",
    "getTask": "get",
    "getTaskOfItem": "get_by_item",
    "getTaskTimeline": "timeline",
    "cancelTask": "cancel",
    "retryTask": "retry",
    "refreshTask": "refresh",
    "streamTask": "stream",
    "streamTasks": "stream_all",
    "createStreamTicket": "stream_ticket",
    "listNotifications": "notifications",
    "getNotification": "notification",
    "redeliverNotification": "redeliver",
    "redeliverDeadNotifications": "redeliver_dead",
    "testWebhook": "test_webhook",
    "getAccount": "account",
    "getMe": "me",
    "updateMe": "update_me",
    "rotateMyWebhookSecret": "rotate_webhook_secret",
    "getArtifact": "save_artifact",
    "getArtifactMember": "save_artifact",
    "listArtifactMembers": "artifact_members",
    "createUpload": "upload",
    "getLyrics": "lyrics",
}


def test_every_operation_of_a_client_has_a_method() -> None:
    document = rest_api("0").openapi()
    groups = {group["name"]: group["tags"] for group in document["x-tagGroups"]}
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    own = {one["operationId"] for one in operations if one["tags"][0] in groups["For clients"]}
    assert own == ACTIONS.keys()
    assert all(callable(getattr(client.AsyncGatewayClient, method)) for method in ACTIONS.values())


@pytest.mark.parametrize(
    ("operation", "path", "renamed"),
    [
        ("listTasks", "/v1/tasks", {"limit": "page_size"}),
        ("listNotifications", "/v1/notifications", {"limit": "page_size"}),
    ],
)
def test_every_filter_of_a_list_is_an_argument(operation: str, path: str, renamed: dict[str, str]) -> None:
    parameters = rest_api("0").openapi()["paths"][path]["get"]["parameters"]
    filters = {renamed.get(one["name"], one["name"]) for one in parameters} - {"cursor"}
    arguments = inspect.signature(getattr(client.AsyncGatewayClient, ACTIONS[operation])).parameters
    assert filters == arguments.keys() - {"self"}
