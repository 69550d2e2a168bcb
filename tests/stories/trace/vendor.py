"""The vendor of a script: it answers each submission as it was told to, or not before it is told to, and a question by
the works that the script gave it."""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from tests.stories.trace.wire import Reply, Request
from tests.support.gateway import make_settings

PREFIX: Final = "/open-apis/v1/"
KEYS: Final = {
    "song": "songs",
    "instrumental": "instrumentals",
    "lyrics": "lyrics",
    "stems": "stems",
    "midi": "midis",
}
"""Families, and under which key their items come."""
_API_KEY: Final = make_settings("sqlite:///x").tempolor_api_key.get_secret_value()

Item = dict[str, Any]


def envelope(status: int, data: Any = None, message: str = "-", request_id: str = "req") -> bytes:
    """The vendor's answer, of HTTP status 200 also where it refuses."""
    return json.dumps({"status": status, "message": message, "request_id": request_id, "data": data or {}}).encode()


def accepted(*item_ids: str) -> Reply:
    """A submission is taken."""
    label = f"accepted {', '.join(item_ids)}"
    return Reply(label, body=envelope(200000, {"item_ids": list(item_ids)}, request_id="req-accepted"))


def refused(status: int, message: str = "no") -> Reply:
    """A code of the vendor's instead of success."""
    return Reply(f"code {status} {message!r}", body=envelope(status, message=message, request_id="req-refused"))


def http(status: int, body: bytes = b"upstream", **headers: str) -> Reply:
    """An answer of another HTTP status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(f"HTTP {status} {body!r} {headers or ''}".rstrip(), status, body, named)


def plain(body: bytes) -> Reply:
    """HTTP 200 with these bytes."""
    return Reply(f"bytes {body!r}", body=body)


def shows(family: str, *items: Item) -> Reply:
    """A question is answered with these items, whatever it asked for."""
    label = f"shows {', '.join(item['item_id'] + ' ' + str(item.get('status')) for item in items) or 'nothing'}"
    return Reply(label, body=envelope(200000, {KEYS[family]: list(items)}))


CUT: Final = Reply("the connection breaks", cut=True)


class Vendor:
    """``works``: what a question finds. ``urls``: where to call back, by the name in the params (a retry's with
    ``+``). ``heard`` is told of each request and what it gets."""

    def __init__(self, heard: Callable[[str], None]) -> None:
        self.works: dict[tuple[str, str], Item] = {}
        self.urls: dict[str, str] = {}
        self.submit_answers: dict[str, deque[Reply]] = {}
        self.query_answers: deque[Reply | None] = deque()
        self.refuses_unknown = False
        self._held: dict[str, asyncio.Future[Reply]] = {}
        self._heard = heard

    def release(self, name: str, reply: Reply) -> None:
        """Give the answer that was held back: of a submission by its name, of a question by ``query``."""
        self._held.pop(name).set_result(reply)

    async def answer(self, request: Request) -> Reply:
        key = "" if request.headers.get("authorization") == _API_KEY else " with a wrong key"
        path, body = request.path.removeprefix(PREFIX), json.loads(request.body)
        if path.endswith("/query"):
            return await self._query(path, body, key)
        if path == "account/billing":
            self._heard(f"{path}{key}")
            return Reply("", body=envelope(200000, {"balance": 776.5}))
        name, url = body.get("name", "nobody"), body.pop("callback_url")
        if self.urls.setdefault(name, url) != url:
            # A retry has the params of another task, and a URL of its own.
            name += "+"
            self.urls[name] = url
        asked = f"{path}{key} {json.dumps(body, sort_keys=True)} for {url}"
        left = self.submit_answers.get(name)
        return await self._tell(asked, name, left.popleft() if left else None)

    async def _query(self, path: str, body: dict[str, list[str]], key: str) -> Reply:
        family, item_ids = path.partition("/")[0], body["item_ids"]
        # The order of the ids is nobody's concern.
        asked = f"{path}{key} {', '.join(sorted(item_ids))}"
        if self.query_answers:
            return await self._tell(asked, "query", self.query_answers.popleft())
        found = [self.works[family, one] for one in sorted(item_ids) if (family, one) in self.works]
        if len(found) < len(item_ids) and self.refuses_unknown:
            return await self._tell(asked, "query", refused(400008, "no such work"))
        return await self._tell(asked, "query", shows(family, *found))

    async def _tell(self, asked: str, name: str, reply: Reply | None) -> Reply:
        if reply is not None:
            self._heard(f"{asked} → {reply.label}")
            return reply
        self._heard(f"{asked} → no answer yet")
        self._held[name] = asyncio.get_running_loop().create_future()
        return await self._held[name]
