"""What a command loads before it does anything: most of the time that a short one takes."""

import subprocess
import sys

import pytest

from tests.support.commands import environment
from tests.support.databases import on_sqlite

LOADED = """
import sys
from app.cli import main
try:
    main({arguments!r})
except SystemExit as ended:
    assert not ended.code, ended.code
print("loaded", *sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
WEB = {"fastapi", "starlette", "uvicorn", "sse_starlette"}


def loaded(*arguments: str, env: dict[str, str]) -> set[str]:
    code = LOADED.format(arguments=arguments)
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return set(run.stdout.rpartition("loaded ")[2].split())


def test_help_loads_next_to_nothing() -> None:
    found = loaded("tasks", "--help", env=environment(None))
    assert not found & (WEB | {"alembic", "asyncpg", "httpx", "pydantic_settings", "sqlalchemy", "structlog"})


@on_sqlite
@pytest.mark.parametrize("command", ["clients list", "audit", "tasks list", "submissions show", "notifications list"])
def test_a_short_command_loads_no_web_framework_no_migrations_and_no_other_database(
    command: str, database_url: str
) -> None:
    found = loaded(*command.split(), env=environment(database_url))
    assert "sqlalchemy" in found
    assert not found & (WEB | {"alembic", "asyncpg"})
