"""Complete FastAPI's OpenAPI document by what holds for all routes, and what no route says of itself. It is made at the
first request that needs it."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

from app.api import components, webhooks
from app.api.examples import TASK
from app.web.answers import SCHEMAS, problem_response

Document = dict[str, Any]

DESCRIPTION: Final = """\
The gateway submits music-generation tasks to TemPolor, receives the vendor's callbacks, keeps the state of every task,
and asks the vendor where a callback is missing.

A client submits a task (`createTask`), then waits for it (`getTask` with `wait`), follows it (`streamTask`) or is
notified (the webhooks). Every submission should carry an `Idempotency-Key`: the same key and body make one task.

Errors are RFC 9457 problems with a stable `code`. All times are RFC 3339 in UTC, ids are UUIDs. Lists answer
`{"data": […], "next_cursor": …}`, newest first; a query parameter that a route does not have is refused. New fields may
appear in every response: ignore what you do not know."""

TAGS: Final = {
    "Tasks": "Submit tasks, and read what became of them.",
    "Files": "Result files, what is in their zips, and uploads.",
    "Streams": "Follow tasks as they change, as server-sent events.",
    "Notifications": "The log of what was posted to your webhooks.",
    "Account": "Who you are, and the vendor's account.",
    "Admin: tasks": "Settle tasks by hand, and take over those that another system submitted.",
    "Admin: submissions": "What is sent, what is held, and why.",
    "Admin: clients": "Clients, their keys, and their data.",
    "Admin: callbacks": "The vendor's callbacks as they came, and what it said that nobody knew.",
    "Health": "For balancers and monitors; no key.",
    "Vendor": "What TemPolor calls; no key.",
}
TAG_GROUPS: Final = {
    "For clients": ("Tasks", "Files", "Streams", "Notifications", "Account"),
    "For operators": ("Admin: tasks", "Admin: submissions", "Admin: clients", "Admin: callbacks", "Health"),
    "For TemPolor": ("Vendor",),
}
API_KEY: Final = "apiKey"
STREAM_TICKET: Final = "streamTicket"
_SECURITY_SCHEMES: Final[Document] = {
    API_KEY: {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, as `clients create` shows it once.",
    },
    STREAM_TICKET: {
        "type": "apiKey",
        "in": "query",
        "name": "ticket",
        "description": "For one stream, in place of an API key: a ticket of `createStreamTicket`.",
    },
}
_PATH_PARAMETERS: Final = {
    "task_id": "The id of a task.",
    "item_id": "The vendor's id of an item.",
    "notification_id": "The id of a notification, which is its `webhook-id`.",
    "callback_id": "The id of a received callback.",
    "name": "The name of a client.",
    "member": "The path of a file within the zip.",
    "form": "The form of the file.",
    "family": "What the vendor was asked for.",
    "token": "Binds the callback to its task; whoever knows it may call back.",
}
_RETRY_AFTER: Final = {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer", "minimum": 1}}}
_LOCATION: Final = {"Location": {"description": "where the task is read", "schema": {"type": "string"}}}
_REPLAYED: Final = {
    "Idempotent-Replayed": {"description": "the key was used before", "schema": {"type": "string", "enum": ["true"]}}
}
_JSON_PROBLEMS: Final = {
    "400": problem_response("The body is not JSON", "invalid_json"),
    "415": problem_response("The body came in an encoding that is not read", "unknown_encoding"),
}
_BODY_PROBLEMS: Final = {
    "408": problem_response("The body did not come in time", "too_slow"),
    "413": problem_response("The body is too large", "payload_too_large"),
}
_CURSOR: Final = problem_response("The cursor cannot be read, or belongs to other filters", "bad_cursor")
_KEY_IS_GONE: Final = problem_response("What this Idempotency-Key made was purged, or is another client's", "not_found")
_KEY_OR_BODY: Final = problem_response(
    "The request is not valid, or its Idempotency-Key was used with another", "invalid_request", "idempotency_mismatch"
)
_HEAD_TOO_LARGE: Final = problem_response("The headers are too large", "head_too_large")
_INTERNAL: Final = {
    "description": "A fault of the gateway, which is in its log (`internal_error`)",
    "content": {"application/problem+json": {"schema": {"$ref": SCHEMAS + "Problem"}}},
}


def operation_id(route: APIRoute) -> str:
    """The id of a route's operation, after its function: ``create_task`` is ``createTask``."""
    first, *others = route.name.split("_")
    return first + "".join(word.capitalize() for word in others)


def complete(app: FastAPI) -> None:
    """Have the app's document include what its routes share, the components that only bodies refer to, the webhooks,
    and the vendor's callback, whose endpoint is no route of the framework's."""
    make_document = app.openapi

    def openapi() -> Document:
        is_complete = app.openapi_schema is not None
        document = make_document()
        if not is_complete:
            _complete(document)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: Document) -> None:
    document["info"] |= {
        "description": DESCRIPTION,
        "contact": {"name": "Whoever operates this gateway"},
        "license": {"name": "All rights reserved", "identifier": "LicenseRef-All-Rights-Reserved"},
    }
    document["servers"] = [{"url": "/", "description": "The gateway that serves this document"}]
    document["security"] = [{API_KEY: []}]
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    document["x-tagGroups"] = [{"name": name, "tags": list(tags)} for name, tags in TAG_GROUPS.items()]
    document["paths"] |= webhooks.vendor_callback()
    document["webhooks"] = webhooks.notifications()
    document["components"]["securitySchemes"] = _SECURITY_SCHEMES
    for path, operation in _operations(document):
        _complete_operation(path, operation)
    schemas = document["components"]["schemas"]
    schemas |= components.bodies() | webhooks.bodies()
    schemas["NotificationWithBody"]["properties"]["body"]["anyOf"][0] = {"$ref": SCHEMAS + "WebhookEvent"}
    schemas |= components.problems(document)
    schemas["Task"]["examples"] = [TASK]
    document["components"]["schemas"] = components.without_defaults(dict(sorted(schemas.items())))


def _operations(document: Document) -> Iterator[tuple[str, Document]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def _complete_operation(path: str, operation: Document) -> None:
    responses = operation["responses"]
    parameters = operation.get("parameters", ())
    names = {parameter["name"] for parameter in parameters}
    _complete_parameters(parameters)
    if "401" in responses:
        operation["security"] = [{API_KEY: []}] + ([{STREAM_TICKET: []}] if "ticket" in names else [])
    else:
        operation["security"] = []
    if "requestBody" in operation and path != webhooks.CALLBACK_PATH:
        responses |= _BODY_PROBLEMS
        if "application/json" in operation["requestBody"]["content"]:
            responses |= _JSON_PROBLEMS
    if "cursor" in names:
        responses["400"] = _CURSOR
    if "{" not in path and not names & {"task_id"}:
        responses.pop("404", None)
    if "202" in responses:
        _complete_submission(path, responses, replays="Idempotency-Key" in names)
    responses |= {"431": _HEAD_TOO_LARGE, "500": _INTERNAL}
    for status in {"429", "503"} & responses.keys():
        if "application/problem+json" in responses[status].get("content", {}):
            responses[status] = responses[status] | {"headers": _RETRY_AFTER}
    operation["responses"] = dict(sorted(responses.items()))


def _complete_parameters(parameters: Iterable[Document]) -> None:
    for parameter in parameters:
        if parameter["in"] == "path":
            parameter.setdefault("description", _PATH_PARAMETERS.get(parameter["name"]))
        # A parameter is a text or left out; there is no null in a URL.
        given = [one for one in parameter["schema"].pop("anyOf", ()) if one != {"type": "null"}]
        parameter["schema"] |= given[0] if given else {}


def _complete_submission(path: str, responses: Document, *, replays: bool) -> None:
    makes_one_task = "/batch" not in path and "/adopt" not in path
    location = _LOCATION if makes_one_task else {}
    responses["202"]["headers"] = location
    if replays:
        replayed = {"description": "The same key and body were sent before; what was made of them, as it is now"}
        headers = _REPLAYED | location
        responses["200"] = {**replayed, "headers": headers, "content": responses["202"]["content"]}
        responses["404"] = _KEY_IS_GONE
        responses["422"] = _KEY_OR_BODY
