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
    assert (ended.code or 0) == {code}, ended.code
print("loaded", *sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
DATABASE = {"alembic", "asyncpg", "sqlalchemy"}
WEB = {"fastapi", "starlette", "uvicorn", "sse_starlette"}


def loaded(*arguments: str, env: dict[str, str], code: int = 0) -> set[str]:
    program = LOADED.format(arguments=arguments, code=code)
    run = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    return set(run.stdout.rpartition("loaded ")[2].split())


@pytest.mark.parametrize("command", ["--version", "--help", "tasks --help"])
def test_help_loads_next_to_nothing(command: str) -> None:
    found = loaded(*command.split(), env=environment(None))
    assert found & (WEB | DATABASE | {"asyncio", "httpx", "pydantic_settings", "structlog"}) == set()


def test_a_command_that_speaks_http_alone_loads_neither_a_database_nor_the_settings() -> None:
    named = {"to": "http://localhost:1", "url": "http://localhost:1", "key": "k" * 40, "secret": "none"}
    arguments = ["listen", *(f"--{name}={value}" for name, value in named.items())]
    found = loaded(*arguments, env=environment(None), code=1)
    assert "httpx" in found
    assert found & (WEB | DATABASE | {"prometheus_client", "pydantic_settings"}) == set()


@on_sqlite
@pytest.mark.parametrize("command", ["clients list", "audit", "tasks list", "submissions show", "notifications list"])
def test_a_short_command_loads_no_web_framework_no_migrations_and_no_other_database(
    command: str, database_url: str
) -> None:
    found = loaded(*command.split(), env=environment(database_url))
    assert "sqlalchemy" in found
    assert not found & (WEB | {"alembic", "asyncpg"})
