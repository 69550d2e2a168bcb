"""Parse parameters of requests: ids and names in paths, texts, and times as RFC 3339 with an offset and in no other
form. Unknown ones are refused, since a result without a misspelt filter would be a wrong one.
"""

import re
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import islice
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Cookie, Header, Path
from pydantic import AfterValidator, AwareDatetime, BeforeValidator

from app.errors import InvalidRequest, NotFound

MOST_UNKNOWN: Final = 20
"""Unknown parameters that are named in one answer."""
_KNOWN: Final[dict[Any, list[str]]] = {}
"""The parameters of each route that was called with any, by its function: the framework takes some 40 µs to say."""
_BLANK_FOR_PLUS: Final = re.compile(r" \d{2}:?\d{2}$")
_BEGINNING: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}")
NUL_MESSAGE: Final = "a text must not contain NUL"


def has_nul(text: str) -> bool:
    """Whether a text holds NUL, which PostgreSQL does not store, nor looks for."""
    return "\x00" in text


def _written_out(value: Any) -> Any:
    # A number would be taken for seconds since 1970.
    if value is not None and not (isinstance(value, str) and _BEGINNING.match(value)):
        raise ValueError("a time is written as RFC 3339 says, with its offset")
    if value is not None and _BLANK_FOR_PLUS.search(value):
        raise ValueError("its offset begins with a blank: in a URL a + is written as %2B")
    return value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time is out of range") from None


def _without_nul(text: str) -> str:
    if has_nul(text):
        raise ValueError(NUL_MESSAGE)
    return text


RequestText = Annotated[str, AfterValidator(_without_nul)]
RequestTime = Annotated[AwareDatetime, AfterValidator(_in_utc), BeforeValidator(_written_out)]


def uuid_of(text: str, what: str = "task") -> UUID:
    """Parse an id in a path. Raises ``NotFound`` for what is no id, as if there were no such ``what``."""
    try:
        return UUID(text)
    except ValueError:
        raise NotFound(f"there is no such {what}") from None


def storable(text: str) -> str:
    """Check a name in a path. Raises ``NotFound`` for what cannot be stored."""
    if has_nul(text):
        raise NotFound("there is no such thing")
    return text


async def only_known_parameters(request: Request) -> None:
    """Refuse a request with parameters that its route does not have. Raises ``InvalidRequest`` with each of them."""
    if not request.scope["query_string"]:
        return
    endpoint = request.scope["endpoint"]
    if (known := _KNOWN.get(endpoint)) is None:
        known = _KNOWN[endpoint] = _parameters_of(request)
    unknown = islice((name for name in request.query_params if name and name not in known), MOST_UNKNOWN)
    faults = tuple((name, _message(name, known)) for name in unknown)
    if faults:
        raise InvalidRequest("the request is not valid", faults)


def _parameters_of(request: Request) -> list[str]:
    fields = get_flat_params(request.scope["route"].dependant)
    return sorted(field.alias for field in fields if not isinstance(field.field_info, (Path, Header, Cookie)))


def _message(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    if close:
        return f"there is no such parameter; perhaps {close[0]} is meant"
    return f"there is no such parameter; there are {', '.join(known)}" if known else "there are no parameters here"
