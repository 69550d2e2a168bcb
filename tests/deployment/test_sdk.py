"""The Python client as its users have it: a wheel of its own, beside a service whose own package is named ``app``."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.support.databases import on_sqlite
from tests.support.gateway import ADMIN_KEY
from tests.support.start_fixtures import StartGateway, StartSandbox
from tests.support.wheels import installed, run

ROOT = Path(__file__).parents[2]
SERVICE = """
import sys

import app
from tempolor_gateway_client import GatewayClient

url, key = sys.argv[1:]
with GatewayClient(url, key) as gateway:
    task = gateway.submit("song.generate", {"prompt": "slow pop ballad, piano", "model": "tempolor-latest"})
    playable = gateway.wait(task.id, "playable", timeout_s=60)
print(app.NAME, playable.status, playable.items[0].artifacts["audio"].status)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the client's wheel and what it needs, and nothing of the gateway."""
    python, own = installed(tmp_path_factory.mktemp("sdk"), list((ROOT / "sdk" / "python").iterdir()))
    assert (own / "tempolor_gateway_client" / "py.typed").exists()
    return python


@on_sqlite
async def test_a_wheel_talks_to_the_gateway_from_a_service_that_has_an_app_of_its_own(
    python: Path, tmp_path: Path, start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    (tmp_path / "app.py").write_text('NAME = "studio"\n')
    (tmp_path / "service.py").write_text(SERVICE)
    gateway = await start_gateway(await start_sandbox(scale=200))
    said = await asyncio.to_thread(run, python, "service.py", gateway.url, ADMIN_KEY, cwd=tmp_path)
    name, status, audio = said.split()
    assert (name, audio) == ("studio", "ready")
    assert status in ("main_succeeded", "succeeded", "part_failed")


def test_it_needs_two_packages() -> None:
    told = run(
        *(sys.executable, "-c", "import importlib.metadata as m; print(m.requires('tempolor-gateway-client'))"),
        cwd=ROOT,
    )
    assert told.count(">=") == 2, told
    assert "httpx" in told, told
    assert "standardwebhooks" in told, told
