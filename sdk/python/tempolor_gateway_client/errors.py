"""What can go wrong in a call, from the gateway's problem documents (RFC 9457) or before there is an answer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tempolor_gateway_client.results import Task


class GatewayError(Exception):
    """Base of all errors of a call, and the error of an answer that has no class of its own.

    ``status``: of the HTTP answer, None where there was none; ``code``: stable, for programs; ``detail``: for people.
    """

    def __init__(self, detail: str, *, status: int | None = None, code: str = "") -> None:
        super().__init__(f"{detail} ({code})" if code else detail)
        self.detail = detail
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request. ``path``: where, as in ``params.prompt``."""

    path: str
    message: str


class InvalidRequest(GatewayError):
    """The request says something impossible (400, 413, 415, 422). ``faults``: every one that is told."""

    def __init__(
        self, detail: str, *, status: int | None = None, code: str = "", faults: tuple[Fault, ...] = ()
    ) -> None:
        super().__init__(detail, status=status, code=code)
        self.faults = faults


class IdempotencyMismatch(InvalidRequest):
    """The idempotency key was used before, with another body."""


class Unauthorized(GatewayError):
    """Nobody has this API key, or it was revoked."""


class Forbidden(GatewayError):
    """The key is right, but this is not allowed to its client."""


class NotFound(GatewayError):
    """There is no such thing, or it is another client's."""


class Conflict(GatewayError):
    """The task is not in a state that allows this."""


class Unavailable(GatewayError):
    """Not now (429, 502, 503, 504), or the gateway was not reached or did not answer in time (no ``status``), and the
    time for retries is over. ``retry_after_s``: in how many seconds to try again, if the gateway said so."""

    def __init__(
        self, detail: str, *, status: int | None = None, code: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(detail, status=status, code=code)
        self.retry_after_s = retry_after_s


class UnexpectedAnswer(GatewayError):
    """The answer is not what the API says: is the URL that of a gateway?"""


class WaitTimeout(GatewayError):
    """The task is not as wanted yet. ``task``: as it was last read; None if it could not be read at all."""

    def __init__(self, detail: str, task: "Task | None") -> None:
        super().__init__(detail, code="wait_timeout")
        self.task = task


class BadSignature(Exception):
    """A message that claims to be a notification was not signed with any of the secrets, or not now."""


_BY_STATUS: Final[dict[int, type[GatewayError]]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
}
_INVALID: Final = frozenset({400, 413, 415, 422})
_UNAVAILABLE: Final = frozenset({429, 502, 503, 504})


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """The error that an answer tells. ``headers``: found whatever their case."""
    problem = _problem_in(body)
    code = str(problem.get("code") or f"http_{status}")
    detail = str(problem.get("detail") or f"the answer was HTTP {status}")
    if status in _UNAVAILABLE:
        after_s = read_retry_after(headers.get("retry-after"))
        return Unavailable(detail, status=status, code=code, retry_after_s=after_s)
    if status in _INVALID:
        made = IdempotencyMismatch if code == "idempotency_mismatch" else InvalidRequest
        return made(detail, status=status, code=code, faults=_faults_in(problem))
    return _BY_STATUS.get(status, GatewayError)(detail, status=status, code=code)


def read_retry_after(text: str | None, now: datetime | None = None) -> float | None:
    """Seconds of a ``Retry-After``, which is a number or a date; None where there is none or it cannot be read."""
    if not text:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())


def _problem_in(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _faults_in(problem: dict[str, Any]) -> tuple[Fault, ...]:
    told = problem.get("errors")
    if not isinstance(told, list):
        return ()
    return tuple(Fault(str(one.get("path", "")), str(one.get("message", ""))) for one in told if isinstance(one, dict))
