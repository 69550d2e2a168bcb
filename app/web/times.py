"""Times in requests: RFC 3339 with an offset, and nothing else that could be read as a time."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

_BLANK_FOR_PLUS: Final = re.compile(r" \d{2}:?\d{2}$")
_BEGINNING: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}")


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


RequestTime = Annotated[AwareDatetime, AfterValidator(_in_utc), BeforeValidator(_written_out)]
