"""Every shell block of the documentation runs as it stands against a gateway and a sandbox."""

import shutil
from pathlib import Path

import pytest

from app.sandbox.audio import content
from tests.chaos.processes import free_port
from tests.docs.pages import Block, block, blocks
from tests.docs.shell import environment, filled, run, run_until, script
from tests.support.commands import VENDOR_KEY
from tests.support.commands import environment as settings_of
from tests.support.databases import on_sqlite
from tests.support.gateway import ADMIN_KEY, Running
from tests.support.start_fixtures import StartGateway, StartSandbox

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not there")

PLAIN = blocks("sh")
SIGNS = {"curl": "event: task", "tempolor-gateway sandbox": "/_sandbox", "tempolor-gateway listen": "Listening."}
"""By what an endless command is known to do its part."""


@pytest.fixture
async def surroundings(
    start_gateway: StartGateway, start_sandbox: StartSandbox, tmp_path: Path
) -> tuple[str, str, dict[str, str]]:
    """A gateway that works, in front of a quick sandbox, with a song that has ended; and a reader's shell."""
    sandbox = await start_sandbox(scale=400, api_key=VENDOR_KEY)
    gateway: Running = await start_gateway(
        sandbox, egress_allow_private=True, tempolor_api_key=VENDOR_KEY, archive_url=f"file://{tmp_path}/archive"
    )
    (tmp_path / "demo.mp3").write_bytes(content("mp3")[1])  # type: ignore[index]
    song = await gateway.submit()
    await gateway.until(song["id"], "succeeded")
    env = environment(
        tmp_path,
        settings_of(f"sqlite+aiosqlite:///{tmp_path / 'gateway.db'}", public_url=gateway.url),
        GATEWAY=gateway.url, KEY=ADMIN_KEY, ID=song["id"], RECEIVER=f"{gateway.url}/healthz",
    )  # fmt: skip
    return gateway.url.removeprefix("http://"), sandbox.base_url.removeprefix("http://"), env


# Each command is a process of its own: a page with many of them is not for every day.
MANY_COMMANDS = {"docs/cli.md", "docs/operate.md"}


@on_sqlite
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow if page in MANY_COMMANDS else ())
        for page in sorted({one.page for one in PLAIN})
    ],
)
async def test_the_blocks_of_a_page_run_one_after_the_other(
    page: str, surroundings: tuple[str, str, dict[str, str]], tmp_path: Path
) -> None:
    gateway, sandbox, env = surroundings
    text = script([one for one in PLAIN if one.page == page])
    code, said = await run(filled(text, gateway, sandbox, ADMIN_KEY), env, tmp_path, 240)
    assert code == 0, said


@on_sqlite
@pytest.mark.parametrize("one", blocks("sh", "until-interrupted"), ids=str)
async def test_what_does_not_end_by_itself_does_its_part(
    one: Block, surroundings: tuple[str, str, dict[str, str]], tmp_path: Path
) -> None:
    gateway, sandbox, env = surroundings
    if "sandbox --port" in one.text:
        sandbox = f"127.0.0.1:{free_port()}"
    [sign] = [sign for start, sign in SIGNS.items() if one.text.startswith(start)]
    await run_until(filled(one.text, gateway, sandbox, ADMIN_KEY), sign, env, tmp_path)


THEIR_TESTS = """
import json, os, time, urllib.request

def test_a_song_is_there_although_every_callback_is_lost():
    headers = {"Authorization": "Bearer " + os.environ["KEY"], "Content-Type": "application/json"}
    def call(path, body=None):
        request = urllib.request.Request(os.environ["GATEWAY"] + path, body and json.dumps(body).encode(), headers)
        return json.load(urllib.request.urlopen(request))
    params = {"prompt": "slow pop ballad, piano", "model": "tempolor-latest"}
    task = call("/v1/tasks", {"kind": "song.generate", "params": params})
    while task["status"] != "succeeded":
        task = call("/v1/tasks/" + task["id"] + "?wait=20")
    assert task["items"][0]["artifacts"]["audio"]["status"] == "ready"
"""


@pytest.mark.slow
async def test_the_recipe_for_ci(tmp_path: Path) -> None:
    own = block("docs/sandbox.md", "sh", "own-processes")
    gateway, sandbox = (f"127.0.0.1:{free_port()}" for _ in range(2))
    (tmp_path / "tests" / "music").mkdir(parents=True)
    (tmp_path / "tests" / "music" / "test_music.py").write_text(THEIR_TESTS)
    settings = settings_of(
        None, public_url=f"http://{gateway}", tempolor_base_url=f"http://{sandbox}",
        tempolor_api_key=VENDOR_KEY, query_first_after_s=1, query_interval_s=1,
    )  # fmt: skip
    env = environment(tmp_path, settings, strict_curl=False, GATEWAY=f"http://{gateway}", KEY=ADMIN_KEY)
    code, said = await run(filled(script([own]), gateway, sandbox, ADMIN_KEY), env, tmp_path, timeout_s=120)
    assert code == 0, said
    assert "1 passed" in said


async def test_a_command_that_fails_fails_the_page(tmp_path: Path) -> None:
    """The harness itself: a refused request in the middle of a block is not passed over."""
    env = environment(tmp_path, {})
    for bad in ("curl -s http://127.0.0.1:9/x | cat", "tempolor-gateway no-such-command", "false"):
        code, said = await run(script([Block("page.md", 1, "sh", (), f"{bad}\necho went on\n")]), env, tmp_path)
        assert code != 0
        assert "went on" not in said
