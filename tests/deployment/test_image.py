"""What can be seen of the image without building it: bases, user, signals, and that every file it copies is there."""

import ast
import json
import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text()
LINES = [
    line.strip() for line in TEXT.replace("\\\n", " ").splitlines() if line.strip() and not line.strip().startswith("#")
]
FINAL = LINES[max(n for n, line in enumerate(LINES) if line.startswith("FROM ")) :]


def _last(instruction: str) -> str:
    return [line.removeprefix(instruction).strip() for line in FINAL if line.startswith(f"{instruction} ")][-1]


def test_both_stages_stand_on_one_base_pinned_to_a_patch_release() -> None:
    [base] = [line.removeprefix("ARG BASE=") for line in LINES if line.startswith("ARG BASE=")]
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base)
    assert [line.split()[1] for line in LINES if line.startswith("FROM ")] == ["${BASE}"] * 2


def test_it_runs_as_nobody_in_particular_and_is_told_by_sigterm() -> None:
    user, group = _last("USER").split(":")
    assert int(user) > 1000
    assert int(group) > 1000
    assert _last("STOPSIGNAL") == "SIGTERM"
    # A list: with a line of text, a shell would take the signal and not pass it on.
    assert json.loads(_last("CMD")) == ["tempolor-gateway", "serve"]
    assert not any(line.startswith("ENTRYPOINT") for line in FINAL)
    assert _last("WORKDIR") == "/data"
    assert "PYTHONDONTWRITEBYTECODE=1" in _last("ENV")


def test_the_health_check_is_python_that_compiles_and_the_same_as_in_the_compose_file() -> None:
    command = json.loads(_last("HEALTHCHECK").partition("CMD ")[2])
    assert command[:2] == ["python", "-c"]
    ast.parse(command[2])
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert compose["services"]["serve-1"]["healthcheck"]["test"] == ["CMD", *command]


def test_what_is_copied_is_sent_to_the_build_and_exists() -> None:
    copied = [
        path
        for line in LINES
        if line.startswith("COPY ") and "--from" not in line
        for path in line.removeprefix("COPY ").split()[:-1]
    ]
    assert copied
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == sent
    assert [path for path in copied if not (ROOT / path).exists()] == []


def test_the_locks_with_and_without_traces_differ_by_what_traces_need() -> None:
    plain, traced = (_pins(ROOT / f"requirements{part}.lock") for part in ("", "-otel"))
    assert plain <= traced
    assert any(one.startswith("opentelemetry-sdk==") for one in traced - plain)
    assert traced <= _pins(ROOT / "requirements-dev.lock")
    assert "ARG OTEL=no" in LINES


def _pins(lock: Path) -> set[str]:
    return set(re.findall(r"^[a-z0-9._-]+==\S+", lock.read_text(), re.MULTILINE))


def test_the_version_is_that_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"ARG VERSION={version}" in LINES
