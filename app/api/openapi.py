"""Complete FastAPI's OpenAPI document by what holds for all routes."""

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel

from app.documents.schemas import Problem
from app.tempolor.kinds import FAMILIES
from app.web.answers import problem_response

CALLBACK_PATH: Final = "/callbacks/{family}/{token}"
_RETRY_AFTER: Final = {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer", "minimum": 1}}}
_LOCATION: Final = {"Location": {"description": "where the task is read", "schema": {"type": "string"}}}
_REPLAYED: Final = {
    "Idempotent-Replayed": {"description": "the key was used before", "schema": {"type": "string", "enum": ["true"]}}
}
_BODY_PROBLEMS: Final = {
    "400": "The body is not JSON",
    "408": "The body did not come in time",
    "413": "The body is too large",
    "415": "The body came in an encoding that is not read",
}


def complete(app: FastAPI, webhook: dict[str, Any]) -> None:
    """Have the app's document include what its routes share, and the callback, whose endpoint is no route of its
    own."""
    make_document = app.openapi

    def openapi() -> dict[str, Any]:
        is_complete = app.openapi_schema is not None
        document = make_document()
        if not is_complete:
            document["webhooks"] = {"callback": webhook}
            document["components"]["schemas"] |= schemas_of(Problem)
            for path, operation in _operations(document):
                _complete(path, operation)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def schemas_of(model: type[BaseModel]) -> dict[str, Any]:
    """A model and those that it is made of, as the document's components."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs", {}), model.__name__: schema}


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def _complete(path: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    if "requestBody" in operation:
        responses |= {status: problem_response(text) for status, text in _BODY_PROBLEMS.items()}
    if "cursor" in names:
        responses["400"] = problem_response("The cursor cannot be read, or belongs to other filters")
    if "{" not in path and not names & {"task_id"}:
        responses.pop("404", None)
    if "202" in responses:
        makes_one_task = "/batch" not in path and "/adopt" not in path
        location = _LOCATION if makes_one_task else {}
        responses["202"]["headers"] = location
        if "Idempotency-Key" in names:
            headers = _REPLAYED | location
            replayed = {"description": "The same key and body were sent before; what was made of them, as it is now"}
            responses["200"] = {**replayed, "headers": headers, "content": responses["202"]["content"]}
            responses["404"] = problem_response("What this Idempotency-Key made was purged, or is another client's")
    for status in {"429", "503"} & responses.keys():
        if "application/problem+json" in responses[status].get("content", {}):
            responses[status]["headers"] = _RETRY_AFTER


WEBHOOK: Final[dict[str, Any]] = {
    "post": {
        "summary": "TemPolor calls back",
        "description": f"Posted to `{CALLBACK_PATH}`, the URL that the gateway gave at the submission; families: "
        f"{', '.join(f'`{name}`' for name in FAMILIES)}. Not signed: the token in the URL is what is checked. Answered "
        "only after the callback and its effect are committed.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "description": "The family's list key with a list of items.",
                        "additionalProperties": {"type": "array", "items": {"type": "object"}},
                    }
                }
            },
        },
        "responses": {
            "200": {"description": "Stored and applied", "content": {"text/plain": {"example": "success"}}},
            "400": problem_response("Malformed; kept in the log"),
            "403": problem_response("Bad token, or items of another task"),
            "405": problem_response("Callbacks are posted"),
            "408": problem_response("The body did not come in time"),
            "413": problem_response("Too large"),
            "429": problem_response("Too many wrong tokens from this address") | {"headers": _RETRY_AFTER},
            "503": problem_response("Not stored") | {"headers": _RETRY_AFTER},
        },
    }
}
"""The callback in OpenAPI's ``webhooks`` section, since its endpoint is not a FastAPI route."""
