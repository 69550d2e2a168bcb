"""Reading a JSON body: bounded in size, time and memory, strict, and every fault an answer."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
from fastapi import Request
from pydantic import BaseModel, ValidationError

from app.api.problems import path_of
from app.errors import InvalidRequest, PayloadTooLarge, TooSlow, Unavailable

MOST_BYTES: Final = 8 * 1024 * 1024
"""A batch of a hundred tasks with 64 KiB each fits."""
MOST_DEPTH: Final = 32

M = TypeVar("M", bound=BaseModel)
_REQUIRED: Final = object()


@dataclass(slots=True)
class BodyBudget:
    """What the bodies that one process is reading may take together. ``most_bytes`` counts what has arrived, so that
    many clients with one large body each cannot fill the memory; ``within_s``: the time for one body."""

    most_bytes: int = 64 * 1024 * 1024
    within_s: float = 30.0
    held: int = 0

    def hold(self, size: int) -> None:
        """Count bytes that arrived. Raises ``Unavailable`` over the budget."""
        if self.held + size > self.most_bytes:
            raise Unavailable("too many large requests at once")
        self.held += size


async def read_json(request: Request, without: Any = _REQUIRED) -> Any:
    """The body as JSON, or ``without`` if there is none. Raises ``PayloadTooLarge``, ``TooSlow``, ``Unavailable``,
    and ``InvalidRequest`` for what is no JSON, is nested too deeply, has a NUL in a text (the databases refuse it), or
    holds a secret of ours."""
    budget: BodyBudget = request.app.state.services.bodies
    raw = bytearray()
    try:
        async with asyncio.timeout(budget.within_s):
            async for chunk in request.stream():
                if len(raw) + len(chunk) > MOST_BYTES:
                    raise PayloadTooLarge(f"the body is over {MOST_BYTES} bytes")
                budget.hold(len(chunk))
                raw += chunk
        if not raw and without is not _REQUIRED:
            return without
        _refuse_secrets(request, bytes(raw))
        return _decode(raw)
    except TimeoutError:
        raise TooSlow("the body did not come in time") from None
    finally:
        budget.held -= len(raw)


def _refuse_secrets(request: Request, raw: bytes) -> None:
    """What a client sends goes on to the vendor and to receivers as it is, so that nothing can be taken out of it."""
    if request.app.state.services.context.redactor.body(raw) is not raw:
        raise InvalidRequest("the body holds a secret of this gateway")


def _decode(raw: bytearray) -> Any:
    try:
        document = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest("the body is not valid JSON") from None
    check_texts(document)
    return document


def parse(model: type[M], document: Any, place: tuple[str | int, ...] = ()) -> M:
    """The document as a model. Raises ``InvalidRequest`` with every fault; no value is repeated in it."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        faults = tuple((path_of([*place, *one["loc"]]), one["msg"]) for one in error.errors(include_url=False))
        raise InvalidRequest("the request is not valid", faults) from None


def check_texts(document: Any, place: tuple[Any, ...] = ()) -> None:
    """Raises ``InvalidRequest`` for a text with NUL, and for a document that is nested too deeply."""
    if len(place) > MOST_DEPTH:
        raise InvalidRequest("the body is nested too deeply")
    if isinstance(document, str):
        if "\x00" in document:
            raise InvalidRequest("the request is not valid", ((path_of(place), "a text must not contain NUL"),))
    elif isinstance(document, list):
        for position, value in enumerate(document):
            check_texts(value, (*place, position))
    elif isinstance(document, dict):
        for name, value in document.items():
            check_texts(name, place)
            check_texts(value, (*place, name))


def documented(model: type[BaseModel], example: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    """The OpenAPI entry of a body that is read by ``read_json``."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": required, "content": content}}
