"""The one table from an error to its HTTP answer: RFC 9457 ``application/problem+json`` with a stable ``code``."""

import json
import math
import re
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app import errors
from app.web.fault_words import path_of, word_of

log = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
MOST_FAULTS: Final = 100
"""More of one request are not told: the answer would be larger than what was asked."""

TABLE: Final[dict[type[errors.GatewayError], tuple[int, str]]] = {
    errors.InvalidRequest: (422, "invalid_request"),
    errors.InvalidJson: (400, "invalid_json"),
    errors.UnknownEncoding: (415, "unknown_encoding"),
    errors.BadCursor: (400, "bad_cursor"),
    errors.NotFound: (404, "not_found"),
    errors.Unauthenticated: (401, "unauthenticated"),
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
_BY_STATUS: Final = {404: "not_found", 405: "method_not_allowed", 413: "payload_too_large", 401: "unauthenticated"}


class Problem(Response):
    """A problem document. ``code`` is stable; ``detail`` is for people."""

    media_type = MEDIA_TYPE

    def __init__(
        self, status: int, code: str, detail: str, headers: dict[str, str] | None = None, **extra: Any
    ) -> None:
        document = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
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
    """The answer to one of our errors."""
    status, code = TABLE[type(error)]
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
        faults = tuple((path_of(one["loc"][1:]), word_of(one)) for one in error.errors())
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
        log.error("request.failed", method=request.method, route=_route(request), exc_info=error)
        return Problem(500, "internal_error", "The gateway failed to answer this; it is in its log.")


def _methods(app: FastAPI, path: str) -> list[str]:
    """All methods of a path as it is documented: the framework names those of the first route that it finds, which
    may be another's (`/v1/tasks/batch` looks like a task's id)."""
    documented = app.openapi()["paths"]
    matching = [one for one in documented if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", one), path)]
    closest = min(matching, key=lambda one: one.count("{"), default=None)
    return sorted(method.upper() for method in documented[closest]) if closest else []


def _route(request: Request) -> str:
    """The route's template: a path as it came may hold a token."""
    return str(getattr(request.scope.get("route"), "path", "unknown"))
