"""The tables of docs/parameters.md are those of the models and of the errors (`python -m tests.docs.test_parameters`
writes them anew)."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest

from app.api.app import rest_api
from app.api.components import meaning_of
from app.documents.task_warnings import TaskWarning
from app.rules.task import FailureCode
from app.tempolor.kinds import ARTIFACTS, KINDS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "parameters.md"


@cache
def document() -> dict[str, Any]:
    """Made when a test asks for it: each worker reads this file."""
    made: dict[str, Any] = rest_api("0").openapi()
    return made


def params_table() -> str:
    return "\n".join(_params_of(kind) for kind in KINDS)


def codes_table() -> str:
    """Every code of a problem, with its status and what the document says of it."""
    told: dict[str, tuple[str, set[str]]] = {}
    codes = document()["components"]["schemas"]["ErrorCode"]["enum"]
    for methods in document()["paths"].values():
        for operation in methods.values():
            if operation["tags"] == ["Vendor"]:
                continue
            for status, response in operation["responses"].items():
                for code in re.findall(r"`([a-z_]+)`", response["description"]):
                    if code in codes:
                        told.setdefault(code, (status, set()))[1].add(operation["operationId"])
    everywhere = max(len(operations) for _, operations in told.values())
    lines = ["| status | `code` | means | operations |", "| --- | --- | --- | --- |"]
    for code, (status, operations) in sorted(told.items(), key=lambda row: (row[1][0], row[0])):
        named = sorted(operations)
        where = "all" if len(named) == everywhere else f"{len(named)} of them"
        where = where if len(named) > 5 else ", ".join(f"`{name}`" for name in named)
        lines.append(f"| {status} | `{code}` | {meaning_of(code)} | {where} |")
    return "\n".join(lines)


def _params_of(kind: str) -> str:
    schemas = document()["components"]["schemas"]
    name = schemas["TaskRequest"]["discriminator"]["mapping"][kind].rpartition("/")[2]
    params = schemas[schemas[name]["properties"]["params"]["$ref"].rpartition("/")[2]]
    text = " ".join((KINDS[kind].params.__doc__ or "").split())
    rows = [f"### `{kind}`", "", text, "", "| param | type | |", "| --- | --- | --- |"]
    for field, schema in params["properties"].items():
        assert "description" in schema, f"{kind}: {field} is not described"
        needed = " **required**" if field in params["required"] else ""
        rows.append(f"| `{field}`{needed} | {_type_of(schema)} | {schema['description']} |")
    return "\n".join(rows) + "\n"


def _type_of(schema: dict[str, Any]) -> str:
    [plain] = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    names = {"string": "text", "number": "number", "integer": "whole number", "boolean": "true or false"}
    return ", ".join((names[plain["type"]], *_limits_of(plain)))


def _limits_of(schema: dict[str, Any]) -> Iterator[str]:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if most is not None:
        yield f"{least} to {most} characters"
    elif least:
        yield "not empty"
    if "maximum" in schema:
        yield f"{schema['minimum']:g} to {schema['maximum']:g}"
    elif "minimum" in schema:
        yield f"from {schema['minimum']:g}"


def section(name: str) -> "re.Pattern[str]":
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=\n<!-- /{name} -->)", re.DOTALL)


TABLES = {"params": params_table, "codes": codes_table}


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_table_is_that_of_the_code(name: str) -> None:
    [found] = section(name).findall(PAGE.read_text())
    assert found == TABLES[name](), "`python -m tests.docs.test_parameters` writes it anew"


def test_every_code_of_a_task_that_failed_is_explained() -> None:
    text = (PAGE.parent / "integrate.md").read_text()
    assert [code for code in get_args(FailureCode.__value__) if f"`{code}`" not in text] == []


def test_every_warning_of_a_task_is_explained() -> None:
    text = (PAGE.parent / "integrate.md").read_text()
    assert [word for word in TaskWarning if not re.search(rf"`{word}(:NAME)?`", text)] == []


def test_every_kind_is_in_the_table_of_kinds() -> None:
    table = (ROOT / "docs" / "integrate.md").read_text().partition("| kind | required params |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+\.\w+)`", table)) == set(KINDS)


@pytest.mark.parametrize(
    ("page", "mark"),
    [
        ("docs/integrate.md", "`"),
        ("docs/archive.md", "`"),
        ("sdk/python/tempolor_gateway_client/results.py", "``"),
    ],
)
def test_every_file_that_an_item_may_have_is_named(page: str, mark: str) -> None:
    text = (ROOT / page).read_text()
    named = [name for name, artifact in ARTIFACTS.items() if artifact.lasts or page != "docs/archive.md"]
    assert [name for name in named if f"{mark}{name}{mark}" not in text] == []


if __name__ == "__main__":
    text = PAGE.read_text()
    for name, table in TABLES.items():
        text = section(name).sub(lambda _, made=table: made(), text)  # type: ignore[misc]
    PAGE.write_text(text)
