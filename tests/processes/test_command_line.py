"""The command line itself: its version, completion, and what a command loads and prints where."""

import asyncio
import os
import pty
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.commands import environment, run
from tests.support.databases import on_sqlite
from tests.support.gateway import ADMIN_KEY

TASK_COMMANDS = ["list", "show", "timeline", "submit", "retry", "cancel", "resolve"]


async def test_it_says_its_version(tmp_path: Path) -> None:
    ended = await run("--version", env=environment(None), cwd=tmp_path)
    assert (ended.code, ended.out, ended.err) == (0, f"{version('tempolor-gateway')}\n", "")


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("tempolor-gateway tasks ", TASK_COMMANDS),
        ("tempolor-gateway tasks submit song.", ["song.generate", "song.extend"]),
        ("tempolor-gateway tasks list --status can", ["canceled"]),
    ],
)
def test_a_shell_completes_commands_and_kinds(words: str, completed: list[str]) -> None:
    env = {**environment(None), "_TEMPOLOR_GATEWAY_COMPLETE": "complete_bash"}
    env |= {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    command = Path(sys.executable).with_name("tempolor-gateway")
    ended = subprocess.run([command], env=env, capture_output=True, text=True, check=True)
    assert sorted(ended.stdout.split()) == sorted(completed)


@on_sqlite
async def test_a_terminal_gets_a_table(tmp_path: Path, database_url: str) -> None:
    env = environment(database_url) | {"COLUMNS": "60", "TERM": "dumb"}
    assert (await run("clients", "create", "studio", env=env, cwd=tmp_path)).code == 0
    terminal, inside = pty.openpty()
    command = [sys.executable, "-m", "app", "clients", "list"]
    process = await asyncio.create_subprocess_exec(*command, env=env, stdout=inside, cwd=tmp_path)
    os.close(inside)
    assert await process.wait() == 0
    header, *rows = os.read(terminal, 65536).decode().splitlines()
    os.close(terminal)
    assert header.split()[:4] == ["NAME", "ROLE", "CREATED", "STATE"]
    assert [row.split()[:2] for row in rows if not row.startswith(" ")] == [["studio", "client"]]
    assert "\t" not in "".join(rows)
    assert ADMIN_KEY not in "".join(rows)
