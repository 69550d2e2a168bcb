"""Refuse unknown query parameters, since a result without a misspelt filter would be a wrong one.

The health routes have none and ignore all: balancers and monitors add their own.
"""

from difflib import get_close_matches
from itertools import islice
from typing import Any, Final

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Cookie, Header, Path

from app.clients.auth import TheClient
from app.errors import InvalidRequest

MOST_FAULTS: Final = 20
_KNOWN: Final[dict[Any, list[str]]] = {}
"""The parameters of each route that was called with any, by its function: the framework takes some 40 µs to say."""


async def only_known_parameters(request: Request, _client: TheClient) -> None:
    """Refuse a request with parameters that its route does not have. Raises ``InvalidRequest`` with each of them; a
    wrong key is reported first."""
    if not request.scope["query_string"]:
        return
    endpoint = request.scope["endpoint"]
    if (known := _KNOWN.get(endpoint)) is None:
        known = _KNOWN[endpoint] = _parameters_of(request)
    unknown = islice((name for name in request.query_params if name and name not in known), MOST_FAULTS)
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
