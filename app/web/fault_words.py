"""What is said of a fault of a request: where it is, and in our words what is wrong there, never what was sent."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from app.errors import InvalidRequest

Place = tuple[str | int, ...]
"""Where in a document something stands."""
Fault = tuple[str, str]
"""A path, and what is wrong there."""

_OTHER: Final = "it is not valid"
_WORDS: Final = {
    "missing": "it is required",
    "extra_forbidden": "there is no such field",
    "dict_type": "it must be an object",
    "model_type": "it must be an object",
    "model_attributes_type": "it must be an object",
    "list_type": "it must be a list",
    "string_type": "it must be a text",
    "string_too_short": "it must have at least {min_length} characters",
    "string_too_long": "it must have at most {max_length} characters",
    "too_short": "it must have at least {min_length} entries",
    "too_long": "it must have at most {max_length} entries",
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
    "int_type": "it must be a whole number",
    "int_parsing": "it must be a whole number",
    "int_parsing_size": "it must be a whole number of a usual size",
    "int_from_float": "it must be a whole number",
    "float_type": "it must be a number",
    "float_parsing": "it must be a number",
    "finite_number": "it must be a finite number",
    "greater_than_equal": "it must be at least {ge}",
    "less_than_equal": "it must be at most {le}",
    "enum": "it must be one of {expected}",
    "literal_error": "it must be one of {expected}",
    "uuid_type": "it must be a UUID",
    "uuid_parsing": "it must be a UUID",
    "url_type": "it must be a URL",
    "url_parsing": "it must be a URL",
    "url_too_long": "it must be a shorter URL",
    "url_scheme": "it must be a URL that begins with one of {expected_schemes}",
    "datetime_type": "it must be a time as RFC 3339 says, with its offset",
    "datetime_parsing": "it must be a time as RFC 3339 says, with its offset",
    "datetime_from_date_parsing": "it must be a time as RFC 3339 says, with its offset",
    "datetime_object_invalid": "it must be a time as RFC 3339 says, with its offset",
    "timezone_aware": "a time needs its offset, Z or as in +02:00",
}
"""By the kind of fault, as the validating library names it; its own words change with its releases."""


def path_of(place: tuple[Any, ...] | list[Any]) -> str:
    """Where a fault is, as in ``params.prompt``."""
    return ".".join(str(part) for part in place)


def word_of(fault: Mapping[str, Any]) -> str:
    """What is wrong, of one fault that the validating library found."""
    about = fault.get("ctx", {})
    if fault["type"] == "value_error":
        # Raised by a check of ours, with our words.
        return str(about["error"])
    return _WORDS.get(fault["type"], _OTHER).format_map(about)


def faults_of(error: ValidationError, place: Place = ()) -> tuple[Fault, ...]:
    """All faults of what stands at a place."""
    return tuple((path_of([*place, *one["loc"]]), word_of(one)) for one in error.errors(include_url=False))


def wrong(place: Place, message: str) -> InvalidRequest:
    """The refusal of a request for one fault."""
    return InvalidRequest("the request is not valid", ((path_of(place), message),))
