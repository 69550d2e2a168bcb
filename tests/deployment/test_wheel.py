"""What runs is what is packaged: a wheel of the project, in an environment of its own, from a folder of its own."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import httpx
import pytest

from tests.support.commands import environment
from tests.support.gateway import eventually

ROOT = Path(__file__).parents[2]
LIMIT_S = 180
pytestmark = pytest.mark.slow


def _run(*command: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    plain = {"PATH": os.defpath, "HOME": str(cwd), "TMPDIR": str(cwd), "NO_COLOR": "1", **env}
    ended = subprocess.run(command, cwd=cwd, env=plain, text=True, capture_output=True, timeout=LIMIT_S, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of an environment into which the wheel was installed. What the project needs is seen from there,
    and the checkout is not."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("app", "migrations", "sdk"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "pyproject.toml", source)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir")
    alone = ("--no-deps", "--no-index")
    projects = (source, source / "sdk" / "python")
    _run(*pip, "wheel", *alone, "--no-build-isolation", "--wheel-dir", folder, *projects, cwd=folder)
    shutil.rmtree(source)
    home = folder / "venv"
    _run(sys.executable, "-m", "venv", "--without-pip", home, cwd=folder)
    python = home / "bin" / "python"
    _run(*pip, "--python", python, "install", *alone, *folder.glob("*.whl"), cwd=folder)
    # Only after that: pip would take this environment's editable install for the project's.
    (own,) = home.glob("lib/python3*/site-packages")
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = "import app, sys; print(app.__path__[0])"
    assert _run(python, "-c", where, cwd=folder).stdout.strip() == str(own / "app")
    return home / "bin" / "tempolor-gateway"


def test_migrate_and_short_commands(installed: Path, tmp_path: Path) -> None:
    env = environment(None)
    ended = _run(installed, "migrate", cwd=tmp_path, **env)
    assert "The schema is at head." in ended.stdout
    assert (tmp_path / "gateway.db").exists()
    assert "tpg_" in _run(installed, "clients", "create", "studio", cwd=tmp_path, **env).stdout
    assert "/callbacks/song/" in _run(installed, "callback-url", "song", cwd=tmp_path, **env).stdout


async def test_serve(installed: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(installed, "serve", "--host", "127.0.0.1", "--port", "0"),
            env=environment(None),
            cwd=tmp_path,
            stdout=output,
            stderr=output,
        )

    async def port() -> int | None:
        assert process.returncode is None, log.read_text()
        lines = map(json.loads, log.read_text().splitlines())
        return next((line["port"] for line in lines if line["event"] == "serving"), None)

    try:
        url = f"http://127.0.0.1:{await eventually(port, LIMIT_S)}"
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as api:
            assert (await api.get("/readyz")).status_code == 200
            assert (await api.get("/openapi.json")).status_code == 200
    finally:
        process.terminate()
        assert await process.wait() == 0


def test_demo(installed: Path, tmp_path: Path) -> None:
    assert "OK  all" in _run(installed, "demo", cwd=tmp_path).stdout
    assert list(tmp_path.iterdir()) == []
