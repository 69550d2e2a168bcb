"""Read JSON bodies, bounded in size, time and memory, and validate them strictly."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from app.errors import InvalidJson, InvalidRequest, PayloadTooLarge, TooSlow, Unavailable, UnknownEncoding
from app.web.answers import SCHEMAS
from app.web.decoding import decode, unpacked
from app.web.problems import Place, faults_of
from app.web.services import SERVICES

SMALL_BYTES: Final = 16 * 1024
"""For a few short fields."""

M = TypeVar("M", bound=BaseModel)
_REQUIRED: Final = object()


@dataclass(slots=True)
class BodyBudget:
    """Bounds the memory of all bodies that a process is reading. ``most_bytes`` counts what has arrived, so that many
    clients with one large body each cannot fill the memory; ``within_s``: the time for one body."""

    most_bytes: int = 64 * 1024 * 1024
    within_s: float = 30.0
    taken: int = 0
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    def take(self, size: int) -> None:
        """Take bytes that arrived from the budget. Raises ``Unavailable`` if they do not fit."""
        if self.taken + size > self.most_bytes:
            raise Unavailable("too many large requests at once")
        self.taken += size

    @asynccontextmanager
    async def turn(self, size: int) -> AsyncIterator[None]:
        """Work on so many bytes of a body. What is large may take tens of milliseconds, in which the event loop stands
        still: one such piece at a time, and then the others have as long as it took."""
        if size <= SMALL_BYTES:
            yield
            return
        async with self._one_at_a_time:
            began = time.perf_counter()
            try:
                yield
            finally:
                await asyncio.sleep(time.perf_counter() - began)


@asynccontextmanager
async def body_of(request: Request, most_bytes: int) -> AsyncIterator[bytes]:
    """Read a body and decompress it; it counts against the budget as long as the block lasts. Raises
    ``PayloadTooLarge``, ``TooSlow``, ``Unavailable``, and ``UnknownEncoding`` in place of the block's ``InvalidJson``
    where the body's encoding may be why it is no JSON."""
    _check_announced(request, most_bytes)
    budget = budget_of(request)
    encoding = request.headers.get("content-encoding", "").strip().lower()
    raw = bytearray()
    received = 0
    try:
        try:
            async with asyncio.timeout(budget.within_s):
                async for chunk in request.stream():
                    if received + len(chunk) > most_bytes:
                        raise _too_large(most_bytes)
                    budget.take(len(chunk))
                    received += len(chunk)
                    raw += chunk
        except TimeoutError:
            raise TooSlow("the body did not come in time") from None
        plain = unpacked(bytes(raw), encoding, most_bytes)
        raw.clear()  # no second copy as long as the block lasts
        yield plain
    except InvalidJson:
        if encoding not in ("", "identity"):
            raise UnknownEncoding("the body is not JSON: send it as it is, or as gzip") from None
        raise
    finally:
        budget.taken -= received


async def pieces_of(request: Request, most_bytes: int) -> AsyncGenerator[bytes, None]:
    """Read a body piece by piece, none of which is kept. Raises ``PayloadTooLarge`` where the body says that it is too
    large (it may say nothing: count it too), ``TooSlow`` where no piece comes for as long as a small body has, and
    ``InvalidRequest`` for a body that is packed."""
    _check_announced(request, most_bytes)
    if request.headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
        raise InvalidRequest("a file is sent as it is, without a Content-Encoding")
    pieces, within_s = aiter(request.stream()), budget_of(request).within_s
    while True:
        try:
            async with asyncio.timeout(within_s):
                piece = await anext(pieces, None)
        except TimeoutError:
            raise TooSlow("the body did not come in time") from None
        if piece is None:
            return
        yield piece


async def read_json(request: Request, most_bytes: int = SMALL_BYTES, default: Any = _REQUIRED) -> Any:
    """Read the body as JSON, or return ``default`` if there is none. Raises what ``body_of`` and ``decode`` do."""
    async with body_of(request, most_bytes) as raw:
        if not raw and default is not _REQUIRED:
            return default
        async with budget_of(request).turn(len(raw)):
            refuse_secrets(request, raw)
            return decode(raw)


def budget_of(request: Request) -> BodyBudget:
    """The budget of this process."""
    budget: BodyBudget = request.scope[SERVICES].bodies
    return budget


def refuse_secrets(request: Request, raw: bytes) -> None:
    """Refuse a body that holds a secret of ours: it goes on to the vendor and to receivers as it is, so that nothing
    can be redacted in it. Raises ``InvalidRequest``."""
    if request.scope[SERVICES].context.redactor.body(raw) is not raw:
        raise InvalidRequest("the body holds a secret of this gateway")


def parse(model: type[M], document: Any, place: Place = ()) -> M:
    """Validate a document as a model. Raises ``InvalidRequest`` with every fault; no value is repeated in it."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise InvalidRequest("the request is not valid", faults_of(error, place)) from None


def documented(model: type[BaseModel], example: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    """The OpenAPI entry of a body that is read by ``read_json``. The model is one of ``app.api.components.BODIES``."""
    schema = {"$ref": SCHEMAS + model.__name__}
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": required, "content": content}}


def _check_announced(request: Request, most_bytes: int) -> None:
    """Refuse a body that says that it is too large before any of it is read. Raises ``PayloadTooLarge``."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > most_bytes:
        raise _too_large(most_bytes)


def _too_large(most_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is over {most_bytes} bytes")
