"""A database that cannot be used is refused by every command with one message: which one it is, and why. Nothing is
stored in it, no traceback is shown, and no password."""

import asyncio
import socket
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from app.database.connect import open_database
from app.database.migrate import migrate
from app.database.postgres import check_suitable
from app.errors import GatewayError, Unavailable, UnsuitableDatabase
from tests.support.commands import environment, run
from tests.support.postgres import PostgresServer

CANARY = "canary5f2b9c"


async def refused(url: str, cwd: Path, *commands: str) -> str:
    """What every one of these commands says before it ends; the last line, with what is in it."""
    texts = []
    for command in commands:
        # Commands say first which database they work on.
        ended = await run(*command.split(), env=environment(url), cwd=cwd)
        assert ended.code != 0, (command, ended.text)
        assert "Traceback" not in ended.err, (command, ended.err)
        assert CANARY not in ended.text
        texts.append(ended.err.strip().splitlines()[-1])
    return "\n".join(texts)


def why(url: str) -> str:
    """Why a migration refuses it, without a process of its own."""
    with pytest.raises(GatewayError) as refusal:
        migrate(url)
    assert CANARY not in str(refusal.value)
    return str(refusal.value)


@pytest.fixture
def make_database(postgres: PostgresServer) -> Iterator[Callable[..., str]]:
    """Make a database with these options, and drop it in the end."""
    made = []

    def make(options: str = "", *statements: str) -> str:
        name = f"unusable_{uuid.uuid4().hex}"
        made.append(name)
        postgres.execute(f"CREATE DATABASE {name} {options}")
        for statement in statements:
            postgres.execute(statement, name)
        return postgres.url(name)

    yield make
    for name in made:
        postgres.drop_database(name)


@pytest.mark.parametrize("encoding", ["LATIN1", "EUC_CN", "SQL_ASCII", "WIN1252"])
async def test_only_utf8_holds_every_text(make_database: Callable[..., str], encoding: str) -> None:
    url = make_database(f"ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(UnsuitableDatabase, match=rf"{encoding} \(server_encoding\).*ENCODING 'UTF8'"):
        await asyncio.to_thread(migrate, url)
    db = open_database(url)
    with pytest.raises(UnsuitableDatabase, match=encoding):
        await db.read(lambda conn: conn.exec_driver_sql("SELECT 1").scalar())
    await db.close()


def test_a_server_that_is_too_old_is_told() -> None:
    check_suitable(12, "UTF8")
    with pytest.raises(UnsuitableDatabase, match="PostgreSQL 11 is too old: the gateway needs 12 or newer"):
        check_suitable(11, "UTF8")


async def test_another_encoding_is_told_by_the_commands(make_database: Callable[..., str], tmp_path: Path) -> None:
    url = make_database("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    assert "LATIN1 (server_encoding)" in await refused(url, tmp_path, "serve --port 0")


def test_rights_that_are_missing_are_named(make_database: Callable[..., str], postgres: PostgresServer) -> None:
    user = f"user_{uuid.uuid4().hex}"
    postgres.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{CANARY}'")
    url = make_database("", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    theirs = url.replace("postgres@", f"{user}:{CANARY}@")
    name = url.rpartition("/")[2]
    try:
        said = why(theirs)
        assert "our user lacks the rights (permission denied for schema public)" in said
        assert f"{user}@127.0.0.1:{postgres.port}/{name}" in said
        # Rights to none of the tables.
        migrate(url)
        assert "our user lacks the rights (permission denied for table" in why(theirs)
    finally:
        postgres.execute(f"DROP ROLE {user}")


async def test_a_database_that_was_not_migrated_is_told(make_database: Callable[..., str], tmp_path: Path) -> None:
    said = await refused(make_database(), tmp_path, "serve --port 0", "worker", "submissions show")
    assert said.count("run 'tempolor-gateway migrate'") == 3


async def test_a_file_of_a_later_release_is_told(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "gateway.db") as conn:
        conn.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        conn.execute("INSERT INTO alembic_version VALUES ('9999')")
    said = await refused(f"sqlite:///{tmp_path}/gateway.db", tmp_path, "serve --port 0", "worker")
    assert said.count("9999") == 2


def test_a_schema_that_is_not_there_is_told(make_database: Callable[..., str]) -> None:
    said = why(f"{make_database()}?search_path=nowhere")
    assert "there is no schema in which its tables could be (no schema has been selected to create in)" in said


def test_what_cannot_be_reached_is_named_with_host_and_port(postgres: PostgresServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = taken.getsockname()[1]
    cases = {
        f"postgresql://u:{CANARY}@127.0.0.1:{closed}/x": (f"u@127.0.0.1:{closed}/x", "it cannot be reached"),
        f"postgresql://u:{CANARY}@no-such-host.invalid/x": ("u@no-such-host.invalid:5432/x", "its host is not known"),
        f"postgresql://u:{CANARY}@%2Fno%2Ffolder/x": ("u@/no/folder:5432/x", "it cannot be reached"),
        f"postgresql://u:{CANARY}@127.0.0.1:{postgres.port}/x": ("u@127.0.0.1:", "it refused our user or password"),
        postgres.url("nowhere"): ("postgres@127.0.0.1:", "there is no such database"),
    }
    for url, (place, reason) in cases.items():
        said = why(url)
        assert place in said
        assert reason in said


@pytest.mark.parametrize("option", ["-cnope=1", "-cwork_mem=much", "--nope", "-cport=1"])
async def test_options_that_the_server_refuses_are_told(postgres: PostgresServer, option: str) -> None:
    url = f"{postgres.url('template')}?options={quote(option)}"
    assert "it refused the connection (" in await asyncio.to_thread(why, url)
    db = open_database(url)
    with pytest.raises(Unavailable) as refusal:
        await db.read(lambda conn: conn.exec_driver_sql("SELECT 1").scalar())
    assert refusal.value.detail == "the database is not available: it refused the connection"
    await db.close()


async def test_a_socket_can_be_named_as_a_host(postgres: PostgresServer) -> None:
    folder = str(postgres.directory).replace("/", "%2F")
    db = open_database(f"postgresql://postgres@{folder}:{postgres.port}/template")
    assert await db.read(lambda conn: conn.exec_driver_sql("SELECT 1").scalar()) == 1
    await db.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_tables_of_others_are_left_alone(kind: str, make_database: Callable[..., str], tmp_path: Path) -> None:
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path}/others.db"
        with sqlite3.connect(tmp_path / "others.db") as conn:
            conn.execute("CREATE TABLE tasks (id int)")
    else:
        url = make_database("", "CREATE TABLE tasks (id int)")
    assert "('tasks'): give the gateway a database of its own" in why(url)


def _no_database(path: Path) -> None:
    path.write_bytes(b"-- a dump, and no database\n" * 400)


def _damaged(path: Path) -> None:
    migrate(f"sqlite:///{path}")
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_no_database, "its file is not a SQLite database"),
        (_damaged, "its file is damaged"),
        (Path.mkdir, "Is a directory"),
    ],
)
def test_a_file_that_is_no_sound_database_is_named(tmp_path: Path, spoil: Callable[..., str], reason: str) -> None:
    path = tmp_path / "gateway.db"
    spoil(path)
    said = why(f"sqlite:///{path}")
    assert reason in said
    assert str(path) in said


async def test_commands_tell_it_in_one_message(tmp_path: Path, postgres: PostgresServer) -> None:
    path = tmp_path / "gateway.db"
    _no_database(path)
    said = await refused(f"sqlite:///{path}", tmp_path, "serve --port 0", "clients list")
    assert said.count(f"{path} is not available: its file is not a SQLite database") == 2
    await refused(f"postgresql://u:{CANARY}@127.0.0.1:{postgres.port}/x", tmp_path, "migrate")
