"""Reading a JSON body: bounded, strict, and every fault an answer."""

from typing import Any, Final, TypeVar

import msgspec
from fastapi import Request
from pydantic import BaseModel, ValidationError

from app.api.problems import path_of
from app.errors import InvalidRequest, PayloadTooLarge

MOST_BYTES: Final = 8 * 1024 * 1024
"""A batch of a hundred tasks with 64 KiB each fits."""
MOST_DEPTH: Final = 32

M = TypeVar("M", bound=BaseModel)


async def read_json(request: Request) -> Any:
    """The body as JSON. Raises ``PayloadTooLarge``, and ``InvalidRequest`` for what is no JSON, is nested too
    deeply, or has a NUL in a text (the databases refuse it)."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MOST_BYTES:
            raise PayloadTooLarge(f"the body is over {MOST_BYTES} bytes")
        chunks.append(chunk)
    try:
        document = msgspec.json.decode(b"".join(chunks))
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
