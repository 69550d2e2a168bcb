"""What narrows a list of tasks can be used from everywhere, and is told."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from app.api.app import rest_api
from app.cli import app
from tempolor_gateway_client import AsyncGatewayClient, GatewayClient

ROOT = Path(__file__).parents[2]
OF_A_PAGE = {"limit", "cursor"}
PARAMETERS = {one["name"] for one in rest_api("0").openapi()["paths"]["/v1/tasks"]["get"]["parameters"]}
FILTERS = PARAMETERS - OF_A_PAGE - {"view"}


def test_the_page_for_callers_names_them() -> None:
    [told] = re.findall(r"`GET /v1/tasks` filters by (.*?);", (ROOT / "docs" / "integrate.md").read_text())
    assert set(re.findall(r"`(\w+)`", told)) == FILTERS


def test_the_command_has_them_and_its_page_names_them() -> None:
    command: Any = get_command(app)
    options = {one.name for one in command.commands["tasks"].commands["list"].params}
    assert options - OF_A_PAGE - {"as_json"} == FILTERS
    [told] = re.findall(r"^\| `tasks list ([^`]*)`", (ROOT / "docs" / "cli.md").read_text(), re.MULTILINE)
    assert {name.replace("-", "_") for name in re.findall(r"--([\w-]+)", told)} == FILTERS


@pytest.mark.parametrize("client", [AsyncGatewayClient, GatewayClient])
def test_the_python_client_has_them(client: type) -> None:
    """That of TypeScript takes what is in the OpenAPI document."""
    given = inspect.signature(getattr(client, "list")).parameters  # noqa: B009
    assert given.keys() - {"self", "page_size", "view"} == FILTERS
