"""Serve the vendor's API over ASGI: checks, limits, the usual answer, and faults."""

import asyncio
import hmac
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.sandbox.calls import OpenCall
from app.sandbox.items import Item
from app.sandbox.parameters import BAD_PARAMETER, check_query, check_submission
from app.sandbox.replies import Refused, Reply, draw, enclose, spoil
from app.sandbox.script import Answer, Operation
from app.sandbox.state import Sandbox
from app.sandbox.works import has_sound
from app.tempolor.kinds import ACCOUNT_PATH, FAMILIES, KINDS, Family, Kind

WRONG_KEY: Final = 400002
TOO_FEW_POINTS: Final = 400005
BUSY: Final = 400006
TOO_MANY_WORKS: Final = 400007
NO_SUCH_WORK: Final = 400008
UNFINISHED_WORK: Final = 400009

Cut = Callable[[Scope], None]
"""Resets the connection of a request."""


@dataclass(frozen=True, slots=True)
class Target:
    """The operation of a path."""

    operation: Operation
    name: str
    kind: Kind | None = None
    family: Family | None = None


TARGETS: Final = {
    ACCOUNT_PATH: Target("account", "account"),
    **{family.query_path: Target("query", family.name, family=family) for family in FAMILIES.values()},
    **{kind.path: Target("submit", kind.name, kind=kind) for kind in KINDS.values()},
}


class VendorApi:
    """The ASGI app for everything under the vendor's prefix."""

    def __init__(self, sandbox: Sandbox, cut: Cut) -> None:
        self._sandbox = sandbox
        self._cut = cut

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        target = TARGETS.get(scope["path"])
        if target is None:
            await Response("not found", 404)(scope, receive, send)
            return
        request = Request(scope, receive)
        call = self._sandbox.calls.begin(target.operation, target.name)
        try:
            reply = await self._reply(request, target, call)
            call.end(reply.status, reply.http_status, reply.fault, reply.request_id)
        except BaseException:
            call.end(None, 0, "broken", "")
            raise
        if reply.cut:
            self._cut(scope)
            await wait_until_left(receive, 1)
            return
        await Response(reply.body, reply.http_status, reply.headers, reply.media_type)(scope, receive, send)

    async def _reply(self, request: Request, target: Target, call: OpenCall) -> Reply:
        if request.method != "POST":
            return Reply(405, b"method not allowed", "text/plain", {"Allow": "POST"})
        missing = self._sandbox.config.missing_operations.get(target.name)
        if target.kind is not None and missing is not None:
            return Reply(missing, b"not found" if missing == 404 else b"method not allowed", "text/plain")
        try:
            body = await self._read(request)
            if target.kind is not None:
                answer, content = await self._submit(target.kind, body, call)
            elif target.family is not None:
                answer, content = self._query(target.family, body, call)
            else:
                answer, content = self._account(body)
        except Refused as refusal:
            return enclose(refusal.status, refusal.message, {})
        except _TooFast as limit:
            return limit.reply
        await wait_until_left(request.receive, answer.delay_s + (answer.hang_s or 0))
        return spoil(_filled(answer, self._sandbox.config.api_key, str(body.get("callback_url"))), content)

    async def _read(self, request: Request) -> dict[str, Any]:
        """Key, then body. **live**: the bare key; business errors come with HTTP 200; forms are refused."""
        raw = await request.body()
        key = request.headers.get("authorization", "")
        if not hmac.compare_digest(key.encode(), self._sandbox.config.api_key.encode()):
            raise Refused(WRONG_KEY)
        if "form" in request.headers.get("content-type", ""):
            raise Refused(BAD_PARAMETER, "body must be JSON")
        try:
            body = msgspec.json.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Refused(BAD_PARAMETER, "body must be JSON") from None
        if not isinstance(body, dict):
            raise Refused(BAD_PARAMETER, "body must be a JSON object")
        return body

    async def _submit(self, kind: Kind, body: dict[str, Any], call: OpenCall) -> tuple[Answer, dict[str, Any]]:
        sandbox = self._sandbox
        check_submission(kind.name, body)
        self._check_model(body)
        self._check_account(kind, body)
        call.n = n = sandbox.works.next_number()
        answer = sandbox.script.answer("submit", kind.name, body)
        if answer is None:
            answer = draw(sandbox.config.submit, random.Random(f"{sandbox.config.seed}/{n}/answer"))
        if not answer.accepts:
            return answer, {}
        work, early = sandbox.accept(n, kind, body)
        call.item_ids = tuple(work.item_ids)
        if early:
            await asyncio.wait(early)
        return answer, {"item_ids": work.item_ids}

    def _check_model(self, body: dict[str, Any]) -> None:
        """**live**: a model that was retired is refused as a bad parameter, while queries go on working."""
        config = self._sandbox.config
        models = {body[field] for field in ("model", "song_model") if isinstance(body.get(field), str)}
        if models and ("*" in config.retired_models or models & set(config.retired_models)):
            raise Refused(config.retired_status, config.retired_message)

    def _check_account(self, kind: Kind, body: dict[str, Any]) -> None:
        config, works, now = self._sandbox.config, self._sandbox.works, self._sandbox.now()
        if config.check_extended and kind.name.endswith(".extend"):
            item = works.find(kind.family.name, body["item_id"])
            if item is None:
                raise Refused(NO_SUCH_WORK)
            if not has_sound(item, now):
                raise Refused(UNFINISHED_WORK)
        if config.enforce_balance and works.points(kind, body) > works.balance(now):
            raise Refused(TOO_FEW_POINTS)
        if config.parallel_limit is not None and works.in_flight(now) >= config.parallel_limit:
            raise Refused(TOO_MANY_WORKS)

    def _query(self, family: Family, body: dict[str, Any], call: OpenCall) -> tuple[Answer, dict[str, Any]]:
        sandbox = self._sandbox
        self._check_rate(call)
        item_ids = check_query(body)
        call.ask(item_ids)
        sandbox.query_count += 1
        rng = random.Random(f"{sandbox.config.seed}/query/{sandbox.query_count}")
        answer = sandbox.script.answer("query", family.name, {}, item_ids) or draw(sandbox.config.query, rng)
        if not answer.shows_content:
            return answer, {}
        return answer, {family.list_key: self._show(family, item_ids, rng)}

    def _show(self, family: Family, item_ids: tuple[str, ...], rng: random.Random) -> list[dict[str, Any]]:
        sandbox, now = self._sandbox, self._sandbox.now()
        items: list[Item] = []
        for item_id in item_ids:
            item = sandbox.works.find(family.name, item_id)
            if item is not None and item.visible_at <= now:
                items.append(item)
            elif sandbox.config.unknown_items == "refuse":
                raise Refused(NO_SUCH_WORK)
        shown = [sandbox.works.shown(item, now) for item in items if rng.random() >= sandbox.config.query_omits]
        rng.shuffle(shown)
        return shown

    def _check_rate(self, call: OpenCall) -> None:
        sandbox = self._sandbox
        if sandbox.query_rate.take():
            return
        call.log.rate_violations += 1
        if sandbox.config.query_limit_answer == "status_400006":
            raise Refused(BUSY)
        raise _TooFast(Reply(429, b"too many requests", "text/plain", {"Retry-After": "1"}, fault="rate_limit"))

    def _account(self, body: dict[str, Any]) -> tuple[Answer, dict[str, Any]]:
        sandbox = self._sandbox
        sandbox.account_count += 1
        answer = sandbox.script.answer("account", "account", body)
        if answer is None:
            rng = random.Random(f"{sandbox.config.seed}/account/{sandbox.account_count}")
            answer = draw(sandbox.config.account, rng)
        return answer, {"balance": sandbox.works.balance(sandbox.now())}


def _filled(answer: Answer, key: str, callback_url: str) -> Answer:
    """Fill the call's key and callback URL into the texts of an answer."""
    texts = {
        name: text.replace("{key}", key).replace("{callback_url}", callback_url)
        for name in ("message", "request_id")
        if (text := getattr(answer, name)) is not None
    }
    return answer.model_copy(update=texts) if texts else answer


class _TooFast(Exception):
    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.http_status)
        self.reply = reply


async def wait_until_left(receive: Callable[[], Awaitable[Any]], seconds: float) -> None:
    """Wait so many real seconds, or until the client has gone."""
    if seconds <= 0:
        return
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return
