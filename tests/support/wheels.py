"""Wheels of the projects in this repository, each installed as its users have it: away from the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

LIMIT_S = 180
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir")
_ALONE = ("--no-deps", "--no-index")
_MADE = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    """Run a command to its good end, with hardly anything in its environment; what it said."""
    plain = {"PATH": os.defpath, "HOME": str(cwd), "TMPDIR": str(cwd), "NO_COLOR": "1", **env}
    ended = subprocess.run(command, cwd=cwd, env=plain, text=True, capture_output=True, timeout=LIMIT_S, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def installed(folder: Path, *projects: Sequence[Path]) -> tuple[Path, Path]:
    """An environment in ``folder`` into which the wheels of projects were installed, each made of these files alone:
    its Python, and its packages. What the projects need is seen from there, and the checkout is not."""
    sources = []
    for number, files in enumerate(projects):
        sources.append(folder / f"source-{number}")
        sources[-1].mkdir()
        for file in files:
            copy = sources[-1] / file.name
            if file.is_dir():
                shutil.copytree(file, copy, ignore=_MADE)
            else:
                shutil.copy(file, copy)
    run(*_PIP, "wheel", *_ALONE, "--no-build-isolation", "--wheel-dir", folder, *sources, cwd=folder)
    for source in sources:
        shutil.rmtree(source)
    home = folder / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", home, cwd=folder)
    python = home / "bin" / "python"
    wheels = list(folder.glob("*.whl"))
    assert len(wheels) == len(projects), wheels
    run(*_PIP, "--python", python, "install", *_ALONE, *wheels, cwd=folder)
    # Only after that: pip would take this environment's editable installs for the projects'.
    (own,) = home.glob("lib/python3*/site-packages")
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python, own
