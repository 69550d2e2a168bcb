"""The control API: read a sandbox's log, script its answers, change its config. No key; keep it off the network.

Lists answer ``{"data": […], "next": number}``; ``?after=number`` continues, ``?limit`` bounds a page.
"""

import base64
import binascii
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from pydantic import Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from app.sandbox.callbacks import Attempt
from app.sandbox.config import SandboxConfig, Strict, merged
from app.sandbox.script import Pending
from app.sandbox.state import Sandbox

PREFIX: Final = "/_sandbox"
_PAGE: Final = 1_000_000

Endpoint = Callable[[Request], Awaitable[Response]]


class SendOrder(Strict):
    """Either ``redeliver`` (number of an attempt), or ``url`` with ``body``, text, or ``body_base64``."""

    redeliver: int | None = None
    url: str | None = None
    body: str | None = None
    body_base64: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)


class ControlApi:
    """The endpoints; each does one thing to one sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def router(self) -> Router:
        """All routes under the prefix."""
        routes: list[tuple[str, str, Endpoint]] = [
            ("GET", "", self.summary),
            ("GET", "/works", self.works),
            ("GET", "/calls", self.calls),
            ("GET", "/callbacks", self.callbacks),
            ("POST", "/callbacks/send", self.send),
            ("GET", "/script", self.script),
            ("POST", "/script", self.add_rules),
            ("GET", "/config", self.config),
            ("PUT", "/config", self.replace_config),
            ("PATCH", "/config", self.change_config),
            ("POST", "/reset", self.reset),
            ("POST", "/finish", self.finish),
        ]
        return Router([Route(PREFIX + path, _with_errors(run), methods=[method]) for method, path, run in routes])

    async def summary(self, request: Request) -> Response:
        return _answer(self._sandbox.truth())

    async def works(self, request: Request) -> Response:
        now = self._sandbox.now()
        after, limit = _page(request)
        chosen = [work for work in self._sandbox.works if work.n > after][:limit]
        fetched = [fetch._asdict() for fetch in self._sandbox.inputs]
        documents = [
            work.truth(now) | {"inputs": [fetch for fetch in fetched if fetch["n"] == work.n]} for work in chosen
        ]
        return _answer({"data": documents, "next": chosen[-1].n if chosen else after})

    async def calls(self, request: Request) -> Response:
        after, limit = _page(request)
        chosen = [call for call in self._sandbox.calls if call.number > after][:limit]
        documents = [call._asdict() for call in chosen]
        following = chosen[-1].number if chosen else after
        return _answer({"data": documents, "next": following, "summary": self._sandbox.truth()})

    async def callbacks(self, request: Request) -> Response:
        after, limit = _page(request)
        chosen = [attempt for attempt in self._sandbox.callbacks if attempt.number > after][:limit]
        documents = [_document(attempt) for attempt in chosen]
        return _answer({"data": documents, "next": chosen[-1].number if chosen else after})

    async def send(self, request: Request) -> Response:
        order = SendOrder.model_validate(await _json(request))
        if order.redeliver is not None:
            attempt = await self._sandbox.callbacks.redeliver(order.redeliver)
            return _refuse(404, "no such attempt in the log") if attempt is None else _answer(_document(attempt))
        if order.url is None or (order.body is None) == (order.body_base64 is None):
            return _refuse(422, "give redeliver, or url with one of body and body_base64")
        body = (order.body or "").encode() or base64.b64decode(order.body_base64 or "", validate=True)
        return _answer(_document(await self._sandbox.callbacks.send_raw(order.url, body, order.headers)))

    async def script(self, request: Request) -> Response:
        return _answer(self._sandbox.script.pending().model_dump(exclude_none=True))

    async def add_rules(self, request: Request) -> Response:
        self._sandbox.script.add(Pending.model_validate(await _json(request)))
        return await self.script(request)

    async def config(self, request: Request) -> Response:
        return _answer(self._sandbox.config.model_dump())

    async def replace_config(self, request: Request) -> Response:
        self._sandbox.configure(self._new_config(await _json(request)))
        return await self.config(request)

    def _new_config(self, body: dict[str, Any]) -> SandboxConfig:
        """Make a whole config; the key and the address stay unless it names them, or callers would be locked out."""
        kept = {"api_key": self._sandbox.config.api_key, "public_url": self._sandbox.config.public_url}
        return SandboxConfig.model_validate(kept | body)

    async def change_config(self, request: Request) -> Response:
        self._sandbox.configure(merged(self._sandbox.config, await _json(request)))
        return await self.config(request)

    async def reset(self, request: Request) -> Response:
        body = await _json(request) if await request.body() else None
        self._sandbox.reset(self._new_config(body) if body is not None else None)
        return _answer(self._sandbox.truth())

    async def finish(self, request: Request) -> Response:
        self._sandbox.finish()
        return _answer(self._sandbox.truth())


def _with_errors(run: Endpoint) -> Endpoint:
    """Wrap an endpoint so that faults of a request are answered with 400 and 422."""

    async def endpoint(request: Request) -> Response:
        try:
            return await run(request)
        except ValidationError as error:
            return _refuse(422, str(error))
        except (json.JSONDecodeError, UnicodeError, binascii.Error, _NotAnObject) as error:
            return _refuse(400, str(error))

    return endpoint


class _NotAnObject(Exception):
    pass


async def _json(request: Request) -> dict[str, Any]:
    parsed = await request.json()
    if not isinstance(parsed, dict):
        raise _NotAnObject("the body must be a JSON object")
    return parsed


def _page(request: Request) -> tuple[int, int]:
    query = request.query_params
    numbers = (query.get("after", "0"), query.get("limit", str(_PAGE)))
    after, limit = (int(number) if number.isdecimal() else 0 for number in numbers)
    return after, limit or _PAGE


def _document(attempt: Attempt) -> dict[str, Any]:
    document = attempt._asdict()
    del document["callback"]
    return document


def _answer(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")


def _refuse(http_status: int, message: str) -> Response:
    return Response(msgspec.json.encode({"error": message}), http_status, media_type="application/json")
