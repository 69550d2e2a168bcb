"""A command uses the database that is there and says which; only ``serve`` and ``migrate`` make one."""

import json
import sqlite3
from pathlib import Path

import pytest

from app.database.connect import name_of, parse_url
from tests.support.commands import environment, run, running
from tests.support.databases import on_sqlite

ID = "0192aaaa-0000-7000-8000-000000000000"
USERS = (
    ["clients", "create", "studio"],
    ["clients", "list"],
    ["audit"],
    ["purge", "--older-than", "1"],
    ["submissions", "show"],
    ["submissions", "hold"],
    ["callbacks", "list"],
    ["tasks", "resolve", ID, "--not-sent"],
    ["recover", "--sent-since", "2026-01-31T02:00:00Z"],
    ["worker"],
)


@pytest.mark.parametrize("command", USERS, ids=" ".join)
async def test_a_missing_file_is_told_and_not_made(tmp_path: Path, command: list[str]) -> None:
    ended = await run(*command, env=environment(None), cwd=tmp_path)
    assert (ended.code, ended.out) == (1, "")
    assert f"{tmp_path}/gateway.db (GATEWAY_DATABASE_URL)" in ended.err.splitlines()[-1]
    assert "Traceback" not in ended.err
    assert list(tmp_path.iterdir()) == []


async def test_a_file_without_our_tables_is_left_as_it_is(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "gateway.db").close()
    (tmp_path / "gateway.db").touch()
    ended = await run("clients", "create", "studio", env=environment(None), cwd=tmp_path)
    assert (ended.code, ended.out) == (1, "")
    assert "migrate" in ended.err
    with sqlite3.connect(tmp_path / "gateway.db") as conn:
        assert conn.execute("SELECT name FROM sqlite_master").fetchall() == []


async def test_each_command_says_on_standard_error_which_database_it_used(tmp_path: Path, database_url: str) -> None:
    line = ""
    for command in (["clients", "create", "studio"], ["submissions", "show"], ["migrate"]):
        ended = await run(*command, env=environment(database_url), cwd=tmp_path)
        assert ended.code == 0, ended.err
        (line,) = [line for line in ended.err.splitlines() if line.startswith("database: ")]
        assert line.endswith(database_url.partition("://")[2].removeprefix("/").partition("?")[0])
        assert "database:" not in ended.out
    async with running("serve", env=environment(database_url), cwd=tmp_path) as served:
        (told,) = [one for one in served.lines() if one["event"] == "serving"]
        assert f"database: {told['database']}" == line


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:canary@db.example:5433/music?sslmode=require", "postgresql://me@db.example:5433/music"),
        ("postgres://me:canary@/music?host=/run/pg&password=canary", "postgresql://me@/run/pg:5432/music"),
        ("POSTGRESQL+psycopg://[::1]/music?user=you&dbname=other", "postgresql://you@[::1]:5432/other"),
        ("postgresql:///music", "postgresql:///music"),
        ("sqlite+aiosqlite:///./a/../b.db", "/b.db"),
    ],
)
def test_how_a_database_is_called(url: str, shown: str) -> None:
    assert name_of(parse_url(url)).endswith(shown)


async def test_migrate_makes_no_database_by_a_file_that_is_not_filled_in(tmp_path: Path) -> None:
    bare = {"PATH": environment(None)["PATH"]}
    (tmp_path / ".env").write_text("GATEWAY_PUBLIC_URL=\nGATEWAY_CALLBACK_SECRETS=\nGATEWAY_TEMPOLOR_API_KEY=\n")
    ended = await run("migrate", env=bare, cwd=tmp_path)
    assert ended.code == 1
    assert "GATEWAY_PUBLIC_URL: it is required" in ended.err
    assert [one.name for one in tmp_path.iterdir()] == [".env"]
    # The database is all that it needs: whoever names one is understood.
    named = bare | {"GATEWAY_DATABASE_URL": "sqlite:///named.db"}
    ended = await run("migrate", env=named, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert f"database: {tmp_path}/named.db" in ended.err
    (tmp_path / ".env").unlink()
    ended = await run("migrate", env=bare, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert f"database: {tmp_path}/gateway.db" in ended.err


@pytest.mark.parametrize("command", [["serve"], ["migrate"], ["clients", "list"]], ids=" ".join)
async def test_a_file_that_cannot_be_used_is_named_in_the_last_line(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "none" / "gateway.db", tmp_path / "folder", tmp_path / "file" / "gateway.db"):
        env = environment(f"sqlite:///{path}", log_level="critical")
        ended = await run(*command, *(["--port", "0"] if command == ["serve"] else []), env=env, cwd=tmp_path)
        last = ended.err.splitlines()[-1]
        assert ended.code == 1
        assert str(path) in last
        assert "GATEWAY_DATABASE_URL" in last
        assert "Traceback" not in ended.err


@on_sqlite
async def test_an_argument_is_trimmed_as_a_setting_is(tmp_path: Path, database_url: str) -> None:
    env = environment(database_url)
    ended = await run("clients", "create", "\ufeffpasted \n", env=env, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["name"] == "pasted"
