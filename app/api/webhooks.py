"""What is posted rather than asked for, in the OpenAPI document: our notifications, and the vendor's callback."""

from typing import Any, Final, get_args

from app.api.examples import TASK
from app.notifications.outbound_log import PING
from app.rules.task import NotificationType
from app.tempolor.kinds import FAMILIES
from app.web.answers import SCHEMAS, problem_response

CALLBACK_PATH: Final = "/callbacks/{family}/{token}"
_SAID_OF: Final = {
    "task.running": "The vendor has the task",
    "task.playable": "There is something to play",
    "task.archived": "The last file that is to be kept is kept, or given up",
    "task.succeeded": "The task ended, and everything is there",
    "task.part_failed": "The task ended with a usable result, of which something is missing",
    "task.failed": "The task ended without a result",
    "task.expired": "The deadline passed without a final word",
    "task.canceled": "The task was taken back before it was sent",
    PING: "A test of a receiver",
}
_HEADERS: Final = {
    "webhook-id": "The id of the notification: the same at every attempt.",
    "webhook-timestamp": "The time of this attempt, in seconds since 1970.",
    "webhook-signature": "`v1,` and the base64 of an HMAC-SHA256, as Standard Webhooks says; during a rotation "
    "several, with blanks between.",
}
_POSTED: Final = (
    "Posted to the task's `webhook_url`, again until it is answered with 2xx (after 5 s, 30 s, 2 min, 10 min, 1 h, 6 h "
    "and 24 h). It may come twice and out of order: `webhook-id` stays the same, and `data.version` orders."
)


def notifications() -> dict[str, Any]:
    """One webhook for each type of notification."""
    return {kind: {"post": _webhook(kind)} for kind in (*get_args(NotificationType.__value__), PING)}


def bodies() -> dict[str, Any]:
    """The bodies of the webhooks, and ``WebhookEvent``: any of those about tasks."""
    types = get_args(NotificationType.__value__)
    made = {_body_name(kind): _body(kind, {"$ref": f"{SCHEMAS}Task"}) for kind in types}
    client = {"type": "object", "properties": {"client": {"type": "string"}}, "required": ["client"]}
    made[_body_name(PING)] = _body(PING, client)
    made["WebhookEvent"] = {
        "title": "WebhookEvent",
        "description": "The body of a notification.",
        "oneOf": [{"$ref": SCHEMAS + _body_name(kind)} for kind in types],
        "discriminator": {
            "propertyName": "type",
            "mapping": {kind: SCHEMAS + _body_name(kind) for kind in types},
        },
    }
    return made


def _webhook(kind: str) -> dict[str, Any]:
    name = _camel(kind)
    example: dict[str, Any] = {"type": kind, "timestamp": TASK["updated_at"]}
    example["data"] = {"client": "studio"} if kind == PING else TASK
    return {
        "operationId": f"on{name}",
        "tags": ["Notifications"],
        "summary": _SAID_OF[kind],
        "description": "Posted once, by `testWebhook`." if kind == PING else _POSTED,
        "security": [],
        "parameters": [
            {"name": header, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
            for header, text in _HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": SCHEMAS + _body_name(kind)}, "example": example},
            },
        },
        "responses": {
            "204": {"description": "Taken; any other 2xx is as good"},
            "410": {"description": "There is no such receiver any more: it is not sent again"},
        },
    }


def _body(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": _body_name(kind),
        "description": f"{_SAID_OF[kind]}. `timestamp`: of the change.",
        "type": "object",
        "properties": {
            "type": {"type": "string", "const": kind},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": data,
        },
        "required": ["type", "timestamp", "data"],
    }


def _body_name(kind: str) -> str:
    return f"{_camel(kind)}Event"


def _camel(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.replace(".", "_").split("_"))


_CALLBACK_BODY: Final = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "description": "The family's list key with a list of items.",
                "additionalProperties": {"type": "array", "items": {"type": "object"}},
            },
            "example": {"songs": [{"item_id": "t2m_81f0", "status": "main_succeeded"}]},
        }
    },
}


def vendor_callback() -> dict[str, Any]:
    """The path that the vendor posts to, since its endpoint is not a FastAPI route."""
    return {
        CALLBACK_PATH: {
            "post": {
                "operationId": "receiveCallback",
                "tags": ["Vendor"],
                "summary": "TemPolor calls back",
                "description": "For TemPolor alone, which is given this URL with each submission. Callbacks are not "
                "signed, so the token in the URL is what is checked. Answered after the callback and its effect are "
                "committed.",
                "parameters": [
                    {
                        "name": "family",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string", "enum": sorted(FAMILIES)},
                    },
                    {"name": "token", "in": "path", "required": True, "schema": {"type": "string"}},
                ],
                "requestBody": _CALLBACK_BODY,
                "responses": {
                    "200": {
                        "description": "Stored and applied",
                        "content": {"text/plain": {"schema": {"type": "string", "const": "success"}}},
                    },
                    "400": problem_response(
                        "Nothing of it could be applied; it is kept in the log", "malformed", "poisoned"
                    ),
                    "403": problem_response("A bad token, or items of another task", "forbidden"),
                    "405": problem_response("Callbacks are posted", "method_not_allowed"),
                    "408": problem_response("The body did not come in time", "too_slow"),
                    "413": problem_response("Too large", "payload_too_large"),
                    "429": problem_response("Too many wrong tokens from this address", "too_many_failures"),
                    "503": problem_response("Not stored", "unavailable"),
                },
            }
        }
    }
