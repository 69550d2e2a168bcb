"""JSON responses, and the problem responses that every route documents."""

from datetime import datetime
from typing import Any, Final

import msgspec
from starlette.responses import Response

from app.rules.timing import rfc3339


def json_answer(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Make a JSON response; times in it become RFC 3339."""
    content = msgspec.json.encode(document, enc_hook=_encode)
    return Response(content, status, headers, media_type="application/json")


def _encode(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    raise TypeError(f"{type(value).__name__} has no place in an answer")


def problem_response(text: str) -> dict[str, Any]:
    """Describe a problem response for the OpenAPI document, whose components hold ``Problem``."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": text, "content": {"application/problem+json": {"schema": schema}}}


PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: problem_response(text)
    for status, text in {
        401: "No API key, or one that nobody has",
        403: "Not allowed to this client",
        404: "There is no such thing, or it is another client's",
        422: "The request is not valid",
        429: "Too many wrong keys from this address",
        503: "Over capacity, or the database is away",
    }.items()
}
CONFLICT: Final[dict[int | str, dict[str, Any]]] = {
    409: problem_response("What is named is not in a state that allows this")
}
VENDOR_FAILED: Final[dict[int | str, dict[str, Any]]] = {
    502: problem_response("The vendor answered with an error, or not at all")
}
