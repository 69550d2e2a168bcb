"""The endpoint that TemPolor calls: plain ASGI, since it is the hot path, and the only one the internet reaches.

In this order: token, address, size, body (G7), and ``success`` only after the commit (G1).
"""

import asyncio
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, cast

from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from app.callbacks.admission import FULL, CallbackIntake, Deadlines
from app.errors import GatewayError, PayloadTooLarge, Unavailable
from app.rules.observation import Disposition
from app.runtime import metrics
from app.runtime.addresses import parse_address, parse_network
from app.tempolor.callback_tokens import SELF_CHECK, Token
from app.tempolor.kinds import FAMILIES
from app.web.decoding import unpacked
from app.web.problems import Problem, of_error
from app.web.wrong_key_limit import FailureMeter, address_of

PREFIX: Final = "/callbacks/"
ROUTE: Final = "/callbacks/{family}/{token}"
READ_TIMEOUT_S: Final = 10.0
"""A body that does not come must not hold a place for ever."""
_SUCCESS: Final = PlainTextResponse("success")
"""Made once: it is the answer to nearly every callback."""
_FULL: Final = of_error(Unavailable(FULL))
"""Made once: under a flood it is the answer to most, and takes processor time from what was taken in."""
_counter: Final = lru_cache(metrics.callbacks.labels)


class _Gone(Exception):
    """The sender went away before its body had ended."""


class CallbackEndpoint:
    """``POST /callbacks/{family}/{token}``. ``allowed``: networks that may call, all if empty."""

    def __init__(
        self,
        intake: CallbackIntake,
        meter: FailureMeter,
        most_bytes: int,
        allowed: Sequence[str],
        *,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self._intake = intake
        self._meter = meter
        self._most_bytes = most_bytes
        self._readers: Deadlines[asyncio.Task[Any]] = Deadlines(read_timeout_s, self._give_up)
        self._late: set[asyncio.Task[Any]] = set()
        self._allowed = [parse_network(network) for network in allowed]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        family, _, text = scope["path"].removeprefix(PREFIX).partition("/")
        try:
            response, disposition = await self._answer(scope, receive, family, text)
        except _Gone:
            return
        label = family if family in FAMILIES else "other"
        _counter(label, disposition).inc()
        metrics.note_request(scope["method"], ROUTE, response.status_code)
        if response.status_code == 200:
            metrics.acknowledge_seconds.observe(time.perf_counter() - started)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, family: str, text: str) -> tuple[Response, str]:
        if scope["method"] != "POST":
            return Problem(405, "method_not_allowed", "Callbacks are posted.", {"Allow": "POST"}), "method"
        address = address_of(scope)
        token = self._intake.tokens.verify(family, text) if family in FAMILIES else None
        if token is None:
            if self._intake.tokens.verify(SELF_CHECK, text) is not None:
                # Refused like any wrong token, with a code that the self-check recognises. No guess: it is not counted.
                return Problem(403, SELF_CHECK, "This gateway refuses its own check."), SELF_CHECK
            try:
                self._meter.fail(address)
            except GatewayError as error:
                return of_error(error), "forbidden"
            return Problem(403, "forbidden", "The token is not valid."), "forbidden"
        if self._allowed and not self._is_allowed(address):
            return Problem(403, "forbidden", "Callbacks from this address are not allowed."), "forbidden"
        return await self._take(scope, receive, token, address)

    async def _take(self, scope: Scope, receive: Receive, token: Token, address: str | None) -> tuple[Response, str]:
        admission = self._intake.admission
        try:
            admission.enter()
        except Unavailable:
            return _FULL, "unavailable"
        body = bytearray()
        try:
            announced, encoding = _about_body(scope)
            if announced > self._most_bytes:
                raise self._too_large()
            await self._read(receive, body)
            if encoding:
                self._unpack(body, encoding)
            answer = await self._intake.receive(token, bytes(body), address, scope["headers"])
        except PayloadTooLarge as error:
            return of_error(error), "too_large"
        except TimeoutError:
            return Problem(408, "too_slow", "The body did not come in time.", {"Connection": "close"}), "too_slow"
        except GatewayError as error:
            return of_error(error), "unavailable"
        finally:
            admission.leave(len(body))
        disposition = answer.disposition.value
        if answer.usable:
            response: Response = _SUCCESS
        elif answer.disposition is Disposition.MISMATCHED:
            response = Problem(403, "forbidden", "The items of this body belong to another task.")
        else:
            response = Problem(400, disposition, "The body is kept in the log; nothing of it could be applied.")
        return response, "duplicate" if answer.repeated else disposition

    def _unpack(self, body: bytearray, encoding: str) -> None:
        """Decompress the body in place: what is stored and applied is what the sender packed. Raises
        ``PayloadTooLarge``, ``Unavailable``."""
        plain = unpacked(bytes(body), encoding, self._most_bytes)
        self._intake.admission.take_bytes(len(plain) - len(body))
        body[:] = plain

    async def _read(self, receive: Receive, body: bytearray) -> None:
        """Read the body, bounded also where its length was not announced. Raises ``TimeoutError`` where it comes too
        late. What it raises is in no local variable: a frame and its error that hold each other keep the body until the
        collector comes."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        canceled_before = task.cancelling()
        self._readers.add(task)
        more = True
        try:
            while more:
                message: Any = await receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                chunk = message.get("body", b"")
                if len(body) + len(chunk) > self._most_bytes:
                    raise self._too_large()
                self._intake.admission.take_bytes(len(chunk))
                body += chunk
                more = message.get("more_body", False)
        except asyncio.CancelledError:
            if task in self._late and task.uncancel() <= canceled_before:
                raise TimeoutError from None
            raise
        finally:
            self._readers.remove(task)
            self._late.discard(task)

    def _give_up(self, task: asyncio.Task[Any]) -> None:
        self._late.add(task)
        task.cancel()

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"the body is over {self._most_bytes} bytes")

    def _is_allowed(self, address: str | None) -> bool:
        parsed = parse_address(address or "")
        return parsed is not None and any(parsed in network for network in self._allowed)


def _about_body(scope: Scope) -> tuple[int, str]:
    """Read the announced length of the body, 0 if there is none, and its encoding."""
    length, encoding = 0, ""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            length = int(value)
        elif name == b"content-encoding":
            encoding = value.decode("latin-1").strip().lower()
    return length, encoding
