"""Ids and names in the path of a request."""

from uuid import UUID

from app.errors import NotFound


def uuid_of(text: str) -> UUID:
    """An id in a path; what is no id names nothing. Raises ``NotFound``."""
    try:
        return UUID(text)
    except ValueError:
        raise NotFound("there is no such task") from None


def storable(text: str) -> str:
    """A name in a path; what cannot be stored names nothing. Raises ``NotFound``."""
    if "\x00" in text:
        raise NotFound("there is no such thing")
    return text
