"""What the client takes an answer for is what the API says of it: the same fields, of the same types."""

import types
from dataclasses import fields
from datetime import datetime
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

import tempolor_gateway_client as client
from app.api.app import rest_api

OF = {
    "Task": client.Task,
    "Item": client.Item,
    "Artifact": client.Artifact,
    "TaskError": client.TaskError,
    "WaitingFor": client.WaitingFor,
    "ArchivedCopy": client.ArchivedCopy,
    "TimelineEntry": client.TimelineEntry,
    "Notification": client.LoggedNotification,
}
SCHEMAS = rest_api("0").openapi()["components"]["schemas"]
PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list", "object": "dict"}


def told(schema: dict[str, Any]) -> set[str]:
    """The types that a schema allows, by the names of Python's; those of an empty one are any."""
    if not schema.keys() - {"title", "description"}:
        return {"Any"}
    if "anyOf" in schema:
        return set().union(*(told(one) for one in schema["anyOf"]))
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return {"str"} if "enum" in SCHEMAS[name] else {name}
    if schema["type"] == "null":
        return {"None"}
    if schema.get("format") == "date-time":
        return {"datetime"}
    return {PLAIN[schema["type"]]}


def taken(hint: Any) -> set[str]:
    """The types of an annotation, in the same words."""
    if hint is Any:
        return {"Any"}
    if get_origin(hint) in (Union, types.UnionType):
        return set().union(*(taken(one) for one in get_args(hint)))
    if hint is types.NoneType:
        return {"None"}
    kind = get_origin(hint) or hint
    if kind is datetime:
        return {"datetime"}
    return {"list" if kind is tuple else kind.__name__}


@pytest.mark.parametrize("name", sorted(OF))
def test_a_result_has_the_fields_that_the_api_tells_of(name: str) -> None:
    kind, told_of = OF[name], SCHEMAS[name]["properties"]
    hints = get_type_hints(kind)
    # `raw` is the answer itself.
    assert {one.name for one in fields(kind)} - {"raw"} == set(told_of)
    assert {field: taken(hints[field]) for field in told_of} == {field: told(one) for field, one in told_of.items()}
