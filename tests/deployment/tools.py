"""Tools of npm and others for tests, installed by their lock file once, in a cache outside of the tree."""

import asyncio
import fcntl
import hashlib
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.support.programs import run_program

OLDEST_NODE: Final = 20
INSTALL_S: Final = 240
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tempolor-gateway"
_DONE: Final = "installed"


async def packages(folder: Path) -> Path:
    """The ``node_modules`` of a folder with a package.json and its lock. Skips the test where Node is missing or too
    old, or its packages can be had from nowhere."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js and npm are not installed")
    _, version = await run("node", "--version", cwd=folder)
    if int(version.strip().removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"Node.js {version.strip()} is older than {OLDEST_NODE}")

    async def install(making: Path) -> tuple[int, str]:
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(folder / name, making)
        command = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        return await run(*command, cwd=making, timeout_s=INSTALL_S)

    digest = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()[:16]
    return await installed(CACHE / f"node-{digest}", install) / "node_modules"


async def installed(target: Path, install: Callable[[Path], Awaitable[tuple[int, str]]]) -> Path:
    """A folder of the cache, made by ``install`` where it is not there yet: one worker does, the others wait. Skips
    the test where that fails, as without a network."""
    lock = target.with_name(f"{target.name}.lock")
    target.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
        if (target / _DONE).exists():
            return target
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        code, said = await install(target)
        if code != 0:
            shutil.rmtree(target, ignore_errors=True)
            pytest.skip(f"{target.name} could not be installed: {said[-300:]}")
        (target / _DONE).touch()
    return target


async def run(
    *command: str, cwd: Path, timeout_s: float = 120, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a program to its end: its exit code and all that it printed."""
    given = {**os.environ, "NO_COLOR": "1", "CI": "1", **(env or {})}
    ended = await run_program(*command, env=given, cwd=cwd, timeout_s=timeout_s, apart=False)
    return ended.code, ended.out


async def well(*command: str, cwd: Path, timeout_s: float = 120, env: Mapping[str, str] | None = None) -> str:
    """What a program printed, which must end well."""
    code, said = await run(*command, cwd=cwd, timeout_s=timeout_s, env=env)
    assert code == 0, f"{' '.join(command)}\n{said}"
    return said
