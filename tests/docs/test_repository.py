"""What forges, editors and hooks are told about this repository can be read, and agrees with the rest of it."""

import configparser
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FORMS = [path for path in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")) if path.name != "config.yml"]
PACKAGES = ("app", "tests", "migrations", "benchmarks", "sdk/python")
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_ci_runs_what_everybody_can_run_and_may_only_read() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    [job] = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]) for step in job["steps"] if "uses" in step)
    script = (ROOT / ".ci" / "run").read_text()
    asked = [word for line in re.findall(r"^make (.+)", script, re.MULTILINE) for word in line.split()]
    assert {word for word in asked if not word.startswith("-")} <= TARGETS


def test_ci_begins_with_the_oldest_python_that_is_supported() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    oldest = workflow["jobs"]["check"]["strategy"]["matrix"]["python"][0]
    assert PROJECT["project"]["requires-python"] == f">={oldest}"
    assert PROJECT["tool"]["mypy"]["python_version"] == oldest
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"


def test_hooks_run_the_tools_of_the_lock_file() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    [local] = config["repos"]
    assert local["repo"] == "local"
    entries = {hook["entry"].split()[0] for hook in local["hooks"]}
    assert all(hook["language"] == "system" for hook in local["hooks"])
    assert entries == {".venv/bin/ruff", ".venv/bin/mypy", ".venv/bin/lint-imports"}
    # The same that `make check` runs.
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"$(BIN)/{Path(entry).name}" in makefile for entry in entries)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_a_form_asks_each_thing_once_and_says_what_it_asks(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    assert form["name"]
    assert form["description"]
    asked = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in asked}) == len(asked) > 0
    assert all(field["attributes"]["label"] for field in asked)
    assert any(field.get("validations", {}).get("required") for field in asked)


def test_editors_are_told_the_width_that_the_linter_holds() -> None:
    config = configparser.ConfigParser()
    config.read_string("[top]\n" + (ROOT / ".editorconfig").read_text())
    assert config["*"]["max_line_length"] == str(PROJECT["tool"]["ruff"]["line-length"])


@pytest.mark.parametrize("package", PACKAGES)
def test_the_modules_that_code_names_exist(package: str) -> None:
    """Those in two backticks, as `rules/join` or `join.py`, and folders of them."""
    known = {path.relative_to(ROOT).with_suffix("").as_posix() for path in MODULES}
    known |= {path.parent.relative_to(ROOT).as_posix() for path in MODULES}
    rooms = {path.name for path in (ROOT / "app").iterdir() if path.is_dir()} | set(PACKAGES)
    named = [
        (f"{path.relative_to(ROOT)}: {text}", text.removesuffix(".py"))
        for path in MODULES
        if path.is_relative_to(ROOT / package)
        for text in re.findall(r"``([\w/]+(?:/\w+|\.py))``", path.read_text())
        if text.endswith(".py") or text.partition("/")[0] in rooms
    ]
    assert [where for where, name in named if not any(f"/{one}".endswith(f"/{name}") for one in known)] == []
