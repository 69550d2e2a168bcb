"""Disks that are full."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def tiny_disk(at: Path, megabytes: int, owner: int = 0) -> Iterator[Path]:
    """A file system of its own, of so many megabytes and of this user; skips where none may be mounted."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,uid={owner},mode=0700", "none", str(at)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a file system of a few megabytes cannot be mounted here")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def fill(disk: Path) -> Path:
    """Take all the space that is left on a disk; the file that has it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    return ballast
