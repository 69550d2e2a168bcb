"""Packages of npm for tests, installed by their lock file once, in a cache outside of the tree."""

import asyncio
import hashlib
import os
import shutil
from pathlib import Path
from typing import Final

import pytest

OLDEST_NODE: Final = 20
INSTALL_S: Final = 240
_FILES: Final = ("package.json", "package-lock.json", ".npmrc")


async def packages(folder: Path) -> Path:
    """The ``node_modules`` of a folder with a package.json and its lock. Skips the test where Node is missing or too
    old, or its packages can be had from nowhere."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js and npm are not installed")
    _, version = await run("node", "--version", cwd=folder)
    if int(version.strip().removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"Node.js {version.strip()} is older than {OLDEST_NODE}")
    files = [folder / name for name in _FILES if (folder / name).exists()]
    digest = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tempolor-gateway" / "node"
    installed = cache / digest
    if not installed.exists():
        # Another worker may install the same: each its own, and the first is kept.
        making = cache / f"{digest}.{os.getpid()}"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        for file in files:
            shutil.copy(file, making)
        code, said = await run(
            "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=making, timeout_s=INSTALL_S
        )
        if code != 0:
            shutil.rmtree(making, ignore_errors=True)
            pytest.skip(f"npm could not install what {folder.name} needs: {said[-300:]}")
        try:
            making.rename(installed)
        except OSError:
            shutil.rmtree(making, ignore_errors=True)
    return installed / "node_modules"


async def run(*command: str, cwd: Path, timeout_s: float = 120, **environment: str) -> tuple[int, str]:
    """Run a program to its end: its exit code and all that it printed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**os.environ, "NO_COLOR": "1", "CI": "1", **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), timeout_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def well(*command: str, cwd: Path, timeout_s: float = 120, **environment: str) -> str:
    """What a program printed, which must end well."""
    code, said = await run(*command, cwd=cwd, timeout_s=timeout_s, **environment)
    assert code == 0, f"{' '.join(command)}\n{said}"
    return said
