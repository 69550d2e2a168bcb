"""Answer errors as problems, RFC 9457 ``application/problem+json`` with a stable ``code``: one table from an error to
its problem, and one from a fault of validation to our message for it.
"""

import json
import math
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app import errors
from app.errors import InvalidRequest
from app.web.head_requests import is_stream
from app.web.request_ids import route_of

Place = tuple[str | int, ...]
"""Where in a document something stands."""
Fault = tuple[str, str]
"""A path, and what is wrong there."""

_OTHER: Final = "it is not valid"
_MESSAGES: Final = {
    "missing": "it is required",
    "extra_forbidden": "there is no such field",
    "dict_type": "it must be an object",
    "model_type": "it must be an object",
    "model_attributes_type": "it must be an object",
    "list_type": "it must be a list",
    "string_type": "it must be a text",
    "string_too_short": "it must have at least {min_length} characters",
    "string_too_long": "it must have at most {max_length} characters",
    "too_short": "it must have at least {min_length} entries",
    "too_long": "it must have at most {max_length} entries",
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
    "int_type": "it must be a whole number",
    "int_parsing": "it must be a whole number",
    "int_parsing_size": "it must be a whole number of a usual size",
    "int_from_float": "it must be a whole number",
    "float_type": "it must be a number",
    "float_parsing": "it must be a number",
    "finite_number": "it must be a finite number",
    "greater_than_equal": "it must be at least {ge}",
    "less_than_equal": "it must be at most {le}",
    "enum": "it must be one of {expected}",
    "literal_error": "it must be one of {expected}",
    "uuid_type": "it must be a UUID",
    "uuid_parsing": "it must be a UUID",
    "url_type": "it must be a URL",
    "url_parsing": "it must be a URL",
    "url_too_long": "it must be a shorter URL",
    "url_scheme": "it must be a URL that begins with one of {expected_schemes}",
    "datetime_type": "it must be a time as RFC 3339 says, with its offset",
    "datetime_parsing": "it must be a time as RFC 3339 says, with its offset",
    "datetime_from_date_parsing": "it must be a time as RFC 3339 says, with its offset",
    "datetime_object_invalid": "it must be a time as RFC 3339 says, with its offset",
    "timezone_aware": "a time needs its offset, Z or as in +02:00",
}
"""By the kind of fault, as the validating library names it; its own words change with its releases."""


def path_of(place: tuple[Any, ...] | list[Any]) -> str:
    """Write the place of a fault as in ``params.prompt``."""
    return ".".join(str(part) for part in place)


def message_of(fault: Mapping[str, Any]) -> str:
    """Our message for a fault that the validating library found."""
    context = fault.get("ctx", {})
    if fault["type"] == "value_error":
        # Raised by a check of ours, with our message.
        return str(context["error"])
    return _MESSAGES.get(fault["type"], _OTHER).format_map(context)


def faults_of(error: ValidationError, place: Place = ()) -> tuple[Fault, ...]:
    """Translate all faults of the part of a document at a place."""
    return tuple((path_of([*place, *fault["loc"]]), message_of(fault)) for fault in error.errors(include_url=False))


def invalid_at(place: Place, message: str) -> InvalidRequest:
    """Make the error for one fault of a request."""
    return InvalidRequest("the request is not valid", ((path_of(place), message),))


log = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
MOST_FAULTS: Final = 100
"""More faults of one request are not listed: the response would be larger than the request."""

TABLE: Final[dict[type[errors.GatewayError], tuple[int, str]]] = {
    errors.InvalidRequest: (422, "invalid_request"),
    errors.InvalidJson: (400, "invalid_json"),
    errors.UnknownEncoding: (415, "unknown_encoding"),
    errors.BadCursor: (400, "bad_cursor"),
    errors.NotFound: (404, "not_found"),
    errors.Unauthenticated: (401, "unauthenticated"),
    errors.ArtifactUnknown: (404, "artifact_unknown"),
    errors.ArtifactNotReady: (409, "artifact_not_ready"),
    errors.ArtifactGone: (410, "artifact_gone"),
    errors.ArchiveOff: (501, "archive_off"),
    errors.ZipRefused: (422, "zip_refused"),
    errors.Forbidden: (403, "forbidden"),
    errors.TooManyFailures: (429, "too_many_failures"),
    errors.Conflict: (409, "conflict"),
    errors.PayloadTooLarge: (413, "payload_too_large"),
    errors.TooSlow: (408, "too_slow"),
    errors.IdempotencyMismatch: (422, "idempotency_mismatch"),
    errors.Unavailable: (503, "unavailable"),
    errors.VendorPaused: (503, "vendor_paused"),
    errors.NotRefreshed: (503, "not_refreshed"),
    errors.VendorFailed: (502, "vendor_failed"),
    errors.SchemaNotAtHead: (503, "schema_not_at_head"),
    errors.DatabaseInUse: (503, "database_in_use"),
    errors.UnsuitableDatabase: (503, "database_unsuitable"),
}
CODES: Final[dict[str, int]] = {code: status for status, code in TABLE.values()} | {
    "bad_request": 400,
    "head_too_large": 431,
    "http_error": 400,
    "incomplete": 400,
    "internal_error": 500,
    "malformed": 400,
    "method_not_allowed": 405,
    "orphan": 400,
    "poisoned": 400,
    "range_not_satisfiable": 416,
    "url_too_long": 414,
}
"""Every code that a problem may have, with its HTTP status."""
_BY_STATUS: Final = {404: "not_found", 405: "method_not_allowed", 413: "payload_too_large", 401: "unauthenticated"}


_PHRASES: Final = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
"""Those of RFC 9110, where Pythons before 3.13 have older ones: an answer must not depend on who runs it."""


def phrase_of(status: int) -> str:
    """The phrase of an HTTP status, which is the title of its problem."""
    return _PHRASES.get(status) or HTTPStatus(status).phrase


class Problem(Response):
    """A problem document. ``code`` is stable; ``detail`` is for people."""

    media_type = MEDIA_TYPE

    def __init__(
        self, status: int, code: str, detail: str, headers: dict[str, str] | None = None, **extra: Any
    ) -> None:
        document = {
            "type": "about:blank",
            "title": phrase_of(status),
            "status": status,
            "code": code,
            "detail": detail,
            **extra,
        }
        request_id = structlog.contextvars.get_contextvars().get("request_id")
        if request_id is not None:
            document["request_id"] = request_id
        super().__init__(json.dumps(document), status, headers)


def of_error(error: errors.GatewayError) -> Problem:
    """Make the response to one of our errors."""
    status, code = next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
    headers: dict[str, str] = {}
    extra: dict[str, Any] = {}
    match error:
        case errors.Unavailable() | errors.TooManyFailures():
            headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
        case errors.TooSlow():
            # The rest of the body would be taken for the next request.
            headers["Connection"] = "close"
        case errors.UnknownEncoding():
            headers["Accept-Encoding"] = "gzip"
        case errors.Unauthenticated():
            headers["WWW-Authenticate"] = "Bearer"
        case errors.InvalidRequest() if error.faults:
            extra["errors"] = [{"path": path, "message": message} for path, message in error.faults[:MOST_FAULTS]]
    return Problem(status, code, error.detail, headers, **extra)


def install(app: FastAPI) -> None:
    """Have every error of the app answered as a problem."""

    @app.exception_handler(errors.GatewayError)
    async def ours(_request: Request, error: errors.GatewayError) -> Response:
        return of_error(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        # The first part says where the parameter stood: in the query, a header.
        faults = tuple((path_of(fault["loc"][1:]), message_of(fault)) for fault in error.errors())
        return of_error(errors.InvalidRequest("the request is not valid", faults))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        code = _BY_STATUS.get(error.status_code, "http_error")
        headers = {name.lower(): value for name, value in (error.headers or {}).items()}
        if error.status_code == 405 and (methods := _methods(app, request.url.path)):
            headers = {**headers, "allow": ", ".join(methods)}
        return Problem(error.status_code, code, str(error.detail), headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(_request: Request, _error: ClientDisconnect) -> Response:
        # No fault of ours, and nobody reads this.
        return Problem(400, "incomplete", "The request broke off.", {"Connection": "close"})

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        log.error("request.failed", method=request.method, route=route_of(request.scope), exc_info=error)
        return Problem(500, "internal_error", "The gateway failed to answer this; it is in its log.")


def _methods(app: FastAPI, path: str) -> list[str]:
    """List all documented methods of a path: the framework names those of the first route that matches, which may be
    another's (`/v1/tasks/batch` looks like a task's id)."""
    documented = app.openapi()["paths"]
    matching = [template for template in documented if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)]
    closest = min(matching, key=lambda template: template.count("{"), default=None)
    methods = {method.upper() for method in documented[closest]} if closest else set()
    return sorted(methods | {"HEAD"} if "GET" in methods and not is_stream(path) else methods)
