"""A form for each kind, made of the model that checks its params, and the params that a filled form stands for."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from app.tempolor.kinds import KINDS

LONG_CHARS: Final = 500
"""A text that may be longer has a field of several lines."""
PREFIX: Final = "params."
"""Before the name of each field in a form: also how a fault of it is named."""


@dataclass(frozen=True, slots=True)
class Field:
    """One of the params as it is asked for. ``widget``: text, lines, number or yes_no."""

    name: str
    title: str
    help: str
    widget: str
    required: bool
    min_length: int | None = None
    max_length: int | None = None
    least: float | None = None
    most: float | None = None


@cache
def fields_of(kind: str) -> tuple[Field, ...]:
    """The fields of a kind: what is required first, else in the order of the model."""
    schema = KINDS[kind].params.model_json_schema()
    required = schema.get("required", [])
    fields = [_field(name, one, name in required) for name, one in schema["properties"].items()]
    return tuple(sorted(fields, key=lambda field: not field.required))


def params_of(kind: str, form: Mapping[str, str]) -> dict[str, Any]:
    """The params that a filled form stands for; what was left empty is left out. What is no number stays a text, for
    the check of the params to say so."""
    params: dict[str, Any] = {}
    for field in fields_of(kind):
        given = form.get(PREFIX + field.name, "").replace("\r\n", "\n")
        if not given.strip():
            continue
        if field.widget == "yes_no":
            params[field.name] = True
        elif field.widget == "number":
            params[field.name] = _number(given)
        else:
            params[field.name] = given if field.widget == "lines" else given.strip()
    return params


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
        min_length=of.get("minLength"),
        max_length=of.get("maxLength"),
        least=of.get("minimum"),
        most=of.get("maximum"),
    )


def _widget(name: str, of: Mapping[str, Any]) -> str:
    if of["type"] == "boolean":
        return "yes_no"
    if of["type"] in ("number", "integer"):
        return "number"
    if of.get("format") == "uri":
        return "text"
    return "lines" if name == "prompt" or LONG_CHARS < of.get("maxLength", 0) < 8192 else "text"


def _number(given: str) -> float | str:
    try:
        return float(given)
    except ValueError:
        return given
