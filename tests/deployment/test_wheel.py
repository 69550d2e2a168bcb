"""What runs is what is packaged: a wheel of the project, in an environment of its own, from a folder of its own."""

import asyncio
import json
import re
from pathlib import Path

import httpx
import pytest

from tests.support.commands import environment
from tests.support.gateway import eventually
from tests.support.wheels import LIMIT_S, installed, run

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of an environment into which the wheels were installed."""
    folder = tmp_path_factory.mktemp("wheel")
    gateway = [ROOT / name for name in ("app", "migrations", "pyproject.toml")]
    python, own = installed(folder, gateway, list((ROOT / "sdk" / "python").iterdir()))
    where = "import app, sys; print(app.__path__[0])"
    assert run(python, "-c", where, cwd=folder).strip() == str(own / "app")
    return python.with_name("tempolor-gateway")


def test_migrate_and_short_commands(command: Path, tmp_path: Path) -> None:
    env = environment(None)
    ended = run(command, "migrate", cwd=tmp_path, **env)
    assert "The schema is at head." in ended
    assert (tmp_path / "gateway.db").exists()
    assert "tpg_" in run(command, "clients", "create", "studio", cwd=tmp_path, **env)
    assert "/callbacks/song/" in run(command, "callback-url", "song", cwd=tmp_path, **env)


async def test_serve(command: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(command, "serve", "--host", "127.0.0.1", "--port", "0"),
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


def test_traces_are_an_extra(command: Path, tmp_path: Path) -> None:
    """What the extra names is in the environment of the tests."""
    python = command.with_name("python")
    needs = run(python, "-c", "import importlib.metadata as m; print(m.requires('tempolor-gateway'))", cwd=tmp_path)
    extra = re.findall(r"'([\w-]+)[^']*extra == \"otel\"'", needs)
    assert set(extra) == {"opentelemetry-exporter-otlp-proto-http", "opentelemetry-sdk"}
    set_up = "from app.runtime import traces; traces.set_up(); print(traces.is_on())"
    on = run(python, "-c", set_up, cwd=tmp_path, OTEL_TRACES_EXPORTER="console")
    assert on.split()[-1] == "True"


def test_demo(command: Path, tmp_path: Path) -> None:
    assert "OK  all" in run(command, "demo", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []
