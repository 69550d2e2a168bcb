"""Make replies of the vendor's API: the envelope, the codes and their messages, and faulty replies."""

import random
import uuid
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from app.sandbox.config import CallFaults
from app.sandbox.odd_answers import exceed, reshape
from app.sandbox.script import Answer

SUCCESS: Final = 200000
MESSAGES: Final = {
    SUCCESS: "success",
    400001: "internal server error",
    400002: "invalid api key",
    400003: "parameter error",
    400004: "content violation",
    400005: "insufficient points",
    400006: "server busy",
    400007: "the limit of parallel tasks is exceeded",
    400008: "the work does not exist",
    400009: "the status of the work is abnormal",
    400010: "the model does not support this feature",
    400011: "the work cannot be extended",
}
"""Source: the vendor's table of status codes."""

_JSON: Final = "application/json; charset=utf-8"
_HTML: Final = "text/html"
_BAD_GATEWAY: Final = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_WELCOME: Final = b"<!doctype html><html><body><p>We will be back soon.</p></body></html>"


class Refused(Exception):
    """A business error: code and message."""

    def __init__(self, status: int, message: str | None = None) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes over the wire. ``fault``: what is wrong with it; ``cut``: the connection is reset instead."""

    http_status: int = 200
    body: bytes = b""
    media_type: str = _JSON
    headers: dict[str, str] = field(default_factory=dict)
    status: int | None = None
    request_id: str = ""
    fault: str | None = None
    cut: bool = False


def enclose(
    status: int, message: str | None, content: dict[str, Any], http_status: int = 200, request_id: str | None = None
) -> Reply:
    """Enclose content in the vendor's envelope. HTTP is 200 for business errors too."""
    envelope = _envelope(status, message, content, request_id)
    return Reply(http_status, msgspec.json.encode(envelope), status=status, request_id=envelope["request_id"])


def _envelope(status: int, message: str | None, content: dict[str, Any], request_id: str | None) -> dict[str, Any]:
    words = message if message is not None else MESSAGES.get(status, "unknown error")
    return {"status": status, "message": words, "request_id": request_id or str(uuid.uuid4()), "data": content}


def spoil(answer: Answer, content: dict[str, Any]) -> Reply:
    """Make the reply that an answer describes, where ``content`` would have been the usual ``data``."""
    if answer.reset or answer.hang_s is not None:
        return Reply(0, fault="hang" if answer.hang_s is not None else "reset", cut=True)
    if answer.garbage is not None:
        return _garble(answer.garbage, content)
    headers = {} if answer.retry_after_s is None else {"Retry-After": str(answer.retry_after_s)}
    http_status = answer.http_status or 200
    if answer.status is None and http_status >= 300:
        words = answer.message or ("too many requests" if http_status == 429 else "upstream error")
        return Reply(http_status, words.encode(), "text/plain", headers, fault=f"http_{http_status}")
    status = SUCCESS if answer.status is None else answer.status
    shown = content if status == SUCCESS else {}
    if answer.form is not None or answer.excess is not None:
        return _odd(answer, _envelope(status, answer.message, shown, answer.request_id))
    whole = enclose(status, answer.message, shown, http_status, answer.request_id)
    return Reply(http_status, whole.body, _JSON, headers, status, whole.request_id)


def draw(faults: CallFaults, rng: random.Random) -> Answer:
    """Draw the answer of a call by chance."""
    late_s = rng.uniform(*faults.late_s) if rng.random() < faults.late else 0.0
    drawn, accept = rng.random(), rng.random() < faults.accepted
    has_retry_after = rng.random() < faults.retry_after
    kind = rng.choice(faults.garbage_kinds)
    answers: list[tuple[float, Answer]] = [
        (faults.hang, Answer(hang_s=faults.hang_s, accept=accept)),
        (faults.reset, Answer(reset=True, accept=accept, delay_s=late_s)),
        (faults.garbage, Answer(garbage=kind, accept=accept, delay_s=late_s)),
    ]
    answers += [(chance, Answer(status=code, delay_s=late_s)) for code, chance in faults.codes.items()]
    retry_after_s = faults.retry_after_s if has_retry_after else None
    answers += [
        (
            chance,
            Answer(
                http_status=http_status,
                retry_after_s=retry_after_s,
                accept=accept and http_status >= 500,
                delay_s=late_s,
            ),
        )
        for http_status, chance in faults.http.items()
    ]
    for chance, answer in answers:
        if drawn < chance:
            return answer
        drawn -= chance
    return Answer(delay_s=late_s)


def _odd(answer: Answer, envelope: dict[str, Any]) -> Reply:
    headers: dict[str, str] = {}
    if answer.excess is not None:
        body, headers = exceed(answer.excess, envelope)
    else:
        body = reshape(answer.form or "flat", envelope)
    fault = answer.excess or answer.form
    return Reply(200, body, headers=headers, status=envelope["status"], request_id=envelope["request_id"], fault=fault)


def _garble(kind: str, content: dict[str, Any]) -> Reply:
    whole = enclose(SUCCESS, None, content)
    return {
        "html_200": Reply(200, _WELCOME, _HTML, fault=kind),
        "html_502": Reply(502, _BAD_GATEWAY, _HTML, fault=kind),
        "empty": Reply(200, b"", fault=kind),
        "no_ids": Reply(200, enclose(SUCCESS, None, {}).body, status=SUCCESS, fault=kind),
        "truncated": Reply(200, whole.body[: len(whole.body) * 2 // 3], fault=kind),
    }[kind]
