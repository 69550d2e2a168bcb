"""The README and its pages keep up with the code: settings and their defaults, tests, commands, metrics, kinds."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic_core import PydanticUndefined
from typer.main import get_command

from app.cli import app
from app.runtime import metrics
from app.settings import PREFIX, Settings
from app.tempolor.kinds import KINDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CLI = (ROOT / "docs" / "cli.md").read_text()
OPERATE = (ROOT / "docs" / "operate.md").read_text()
INTEGRATE = (ROOT / "docs" / "integrate.md").read_text()
SHARED = [str(one.validation_alias) for one in Settings.model_fields.values() if one.validation_alias]
NAME = "|".join([rf"{PREFIX}\w+", *SHARED])
ENV_EXAMPLE = (ROOT / ".env.example").read_text()


def told(default: Any) -> str:
    """A default as the documents write it."""
    if default is PydanticUndefined:
        return "required"
    if default in (None, [], {}, ""):
        return "none"
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    return str(default).lower() if isinstance(default, bool) else str(default)


def defaults() -> dict[str, str]:
    return {
        str(field.validation_alias or f"{PREFIX}{name.upper()}"): told(field.default)
        for name, field in Settings.model_fields.items()
    }


def test_the_settings_table_names_every_setting_with_its_default() -> None:
    rows = re.findall(rf"^\| `({NAME})` \| `?([^|`]+?)`? \| \S", OPERATE, re.MULTILINE)
    assert dict(rows) == defaults()
    assert len(rows) == len(Settings.model_fields)


def test_the_example_environment_names_every_setting_with_its_default() -> None:
    lines = dict(re.findall(rf"^#?({NAME})=(.*)$", ENV_EXAMPLE, re.MULTILINE))
    assert {
        name: value or ("required" if defaults()[name] == "required" else "none") for name, value in lines.items()
    } == (defaults())


def test_what_the_example_environment_leaves_open_is_what_is_required() -> None:
    active = re.findall(rf"^({PREFIX}\w+)=$", ENV_EXAMPLE, re.MULTILINE)
    assert sorted(active) == sorted(name for name, default in defaults().items() if default == "required")


def test_every_guarantee_names_tests_that_exist() -> None:
    rows = re.findall(r"^\| (G\d+) \|.*\| (.+) \|$", README, re.MULTILINE)
    assert [name for name, _ in rows] == [f"G{n}" for n in range(1, 14)]
    for name, proof in rows:
        paths = re.findall(r"`(tests/[^`]+)`", proof)
        assert paths, name
        assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_command_is_in_the_table() -> None:
    tables = CLI.partition("## Commands")[2].partition("## ")[0]
    commands = get_command(app).commands  # type: ignore[attr-defined]
    names = [
        f"{name} {below}".strip() for name, one in commands.items() for below in getattr(one, "commands", None) or [""]
    ]
    assert [name for name in names if not re.search(rf"`{name}\b", tables)] == []


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_is_named(kind: str) -> None:
    assert f"`{kind}`" in INTEGRATE


def test_the_metrics_that_others_rely_on_exist() -> None:
    table = OPERATE.partition("## Watch it")[2].partition("## ")[0]
    named = dict(re.findall(r"^\| `(gateway_\w+)\{([\w,]+)\}`", table, re.MULTILINE))
    found = {
        (f"{one._name}_total" if one._type == "counter" else one._name): ",".join(one._labelnames)
        for one in vars(metrics).values()
        if hasattr(one, "_labelnames")
    }
    assert named
    assert {name: found.get(name) for name in named} == named
    assert {f.name for f in metrics.registry.collect()} >= {name.removesuffix("_total") for name in named}
