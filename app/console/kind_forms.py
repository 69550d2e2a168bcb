"""A form for each kind, made of the model that checks its params, and the params that a filled form stands for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from app.tempolor.kinds import KINDS

LONG_CHARS: Final = 500
"""A text that may be longer has a field of several lines."""
PREFIX: Final = "params."
"""Before the name of each field in a form: also how a fault of it is named."""
CHOSEN: Final = "chosen."
"""Before the name of a field's own list of works: what is chosen there counts where the field is empty."""
_AT_HAND: Final = frozenset({"lyrics"})
"""Optional fields that are not put away with the others."""


@dataclass(frozen=True, slots=True)
class Field:
    """One of the params as it is asked for. ``widget``: text, audio (a URL or a file), lines, number or yes_no;
    ``examples``: what is often given; ``at_hand``: shown at once."""

    name: str
    title: str
    help: str
    widget: str
    required: bool
    at_hand: bool
    examples: tuple[str, ...] = ()
    min_length: int | None = None
    max_length: int | None = None
    least: str | None = None
    most: str | None = None


@cache
def fields_of(kind: str) -> tuple[Field, ...]:
    """The fields of a kind: what is required first, else in the order of the model."""
    schema = KINDS[kind].params.model_json_schema()
    required = schema.get("required", [])
    fields = [_field(name, one, name in required) for name, one in schema["properties"].items()]
    # One or two fields more are not worth being put away.
    few = sum(not field.at_hand for field in fields) <= 2
    shown = fields if not few else [replace(field, at_hand=True) for field in fields]
    return tuple(sorted(shown, key=lambda field: not field.required))


def params_of(kind: str, form: Mapping[str, str]) -> dict[str, Any]:
    """The params that a filled form stands for; what was left empty is left out. What is no number stays a text, for
    the check of the params to say so."""
    params: dict[str, Any] = {}
    for field in fields_of(kind):
        key = PREFIX + field.name
        given = form.get(key, "").replace("\r\n", "\n")
        if not given.strip():
            given = form.get(CHOSEN + key, "")
        if not given.strip():
            continue
        if field.widget == "yes_no":
            params[field.name] = True
        elif field.widget == "number":
            params[field.name] = _number(given)
        else:
            params[field.name] = given if field.widget == "lines" else given.strip()
    return params


def filled(kind: str, params: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """The form that stands for params, and the names of those that have no field or no text in it."""
    form: dict[str, str] = {}
    left_out = []
    names = {field.name for field in fields_of(kind)}
    for name, value in params.items():
        if value is None or value is False:
            continue
        if name in names and isinstance(value, (str, int, float)):
            form[PREFIX + name] = str(value)
        else:
            left_out.append(name)
    return form, left_out


def _field(name: str, schema: dict[str, Any], required: bool) -> Field:
    # An optional field is its type or null.
    options = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    of = {**schema, **options[0]}
    return Field(
        name=name,
        title=of.get("title", name),
        help=of.get("description", ""),
        widget=_widget(name, of),
        required=required,
        at_hand=required or name in _AT_HAND,
        examples=tuple(of.get("examples", ())),
        min_length=of.get("minLength"),
        max_length=of.get("maxLength"),
        least=_limit(of.get("minimum")),
        most=_limit(of.get("maximum")),
    )


def _widget(name: str, of: Mapping[str, Any]) -> str:
    if of["type"] == "boolean":
        return "yes_no"
    if of["type"] in ("number", "integer"):
        return "number"
    if of.get("format") == "uri":
        return "audio"
    return "lines" if name == "prompt" or of.get("maxLength", 0) > LONG_CHARS else "text"


def _limit(number: float | None) -> str | None:
    return None if number is None else f"{number:g}"


_NUMBER: Final = re.compile(r"\s*[+-]?\d{1,30}(\.\d{1,30})?([eE][+-]?\d{1,2})?\s*", re.ASCII)


def _number(given: str) -> float | str:
    """Read a number; what is written as a whole one is one, since a param may take no other. What is none stays as it
    is, to be refused with the other params."""
    match = _NUMBER.fullmatch(given)
    if match is None:
        return given
    return float(given) if match[1] or match[2] else int(given)
