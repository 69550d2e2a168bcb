"""JSON responses, and the problem responses that every route documents."""

from datetime import datetime
from typing import Any, Final

import msgspec
from starlette.responses import Response

from app.rules.times import rfc3339

Responses = dict[int | str, dict[str, Any]]
SCHEMAS: Final = "#/components/schemas/"


def json_answer(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Make a JSON response; times in it become RFC 3339."""
    content = msgspec.json.encode(document, enc_hook=_encode)
    return Response(content, status, headers, media_type="application/json")


def _encode(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    raise TypeError(f"{type(value).__name__} has no place in an answer")


def problem_name(code: str) -> str:
    """The component of the OpenAPI document that describes the problem of one code."""
    return "".join(word.capitalize() for word in code.split("_")) + "Problem"


def problem_response(text: str, code: str, *others: str) -> dict[str, Any]:
    """Describe a problem response for the OpenAPI document, with all codes that it may have."""
    schemas = [{"$ref": SCHEMAS + problem_name(one)} for one in (code, *others)]
    named = ", ".join(f"`{one}`" for one in (code, *others))
    return {
        "description": f"{text} ({named})",
        "content": {"application/problem+json": {"schema": schemas[0] if len(schemas) == 1 else {"oneOf": schemas}}},
    }


PROBLEMS: Final[Responses] = {
    401: problem_response("No API key, or one that nobody has", "unauthenticated"),
    403: problem_response("Not allowed to this client", "forbidden"),
    404: problem_response("There is no such thing, or it is another client's", "not_found"),
    422: problem_response("The request is not valid", "invalid_request"),
    429: problem_response("Too many wrong keys from this address", "too_many_failures"),
    503: problem_response("Over capacity, or the database is away", "unavailable"),
}
CONFLICT: Final[Responses] = {
    409: problem_response("What is named is not in a state that allows this", "conflict"),
}
VENDOR_FAILED: Final[Responses] = {
    502: problem_response("The vendor answered with an error, or not at all", "vendor_failed"),
}
NOT_ASKED: Final[Responses] = {
    503: problem_response(
        "The vendor is not asked now, or its answer did not come in time; or over capacity, or the database is away",
        "vendor_paused",
        "not_refreshed",
        "unavailable",
    ),
}
