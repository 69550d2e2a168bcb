"""The page that adds a kind does: its changes are applied to a copy of the code, and a task of that kind is made."""

import asyncio
import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.chaos.processes import free_port
from tests.docs.pages import BLOCKS, ROOT, block
from tests.docs.shell import environment, run, script
from tests.support.commands import environment as settings_of
from tests.support.commands import running
from tests.support.gateway import ADMIN_KEY

PAGE = "docs/add-a-kind.md"


def changed(code: str, diff: str) -> str:
    """Code with one change made, as the lines of a diff say: what it takes away must be there once."""
    lines = diff.splitlines(keepends=True)
    before = "".join(line[1:] or "\n" for line in lines if not line.startswith("+"))
    after = "".join(line[1:] or "\n" for line in lines if not line.startswith("-"))
    assert code.count(before) == 1, f"not there, or not once:\n{before}"
    return code.replace(before, after)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the code with the changes of the page."""
    tree = tmp_path / "tree"
    for name in ("app", "migrations"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "alembic.ini", tree)
    diffs = [one for one in BLOCKS if one.page == PAGE and one.language == "diff"]
    assert [one.words for one in diffs] == [("app/tempolor/params.py",), *[("app/tempolor/kinds.py",)] * 2]
    for one in diffs:
        path = tree / one.words[0]
        path.write_text(changed(path.read_text(), one.text))
    return tree


@pytest.mark.parametrize(
    "calls_back", [pytest.param(True, id="by-callback"), pytest.param(False, id="by-query", marks=pytest.mark.slow)]
)
async def test_a_task_of_the_new_kind_is_made(tree: Path, calls_back: bool) -> None:
    vendor, port = block(PAGE, "python", "vendor").text, free_port()
    if not calls_back:
        vendor = vendor.replace("answer = await caller.post(", "return\n        answer = await caller.post(")
    with (tree / "vendor.log").open("wb") as file:
        made = await asyncio.create_subprocess_exec(
            sys.executable, "-c", vendor,
            env={"PORT": str(vendor_port := free_port())}, cwd=tree, stdout=file, stderr=file,
        )  # fmt: skip
    settings = settings_of(
        f"sqlite+aiosqlite:///{tree / 'gateway.db'}", public_url=f"http://127.0.0.1:{port}",
        tempolor_base_url=f"http://127.0.0.1:{vendor_port}", query_first_after_s=240 if calls_back else 0.5,
    )  # fmt: skip
    try:
        async with running("serve", "--port", str(port), env=settings, cwd=tree) as gateway:
            env = environment(tree, {}, GATEWAY=gateway.url, KEY=ADMIN_KEY)
            code, said = await run(script([block(PAGE, "sh", "remix")]), env, tree)
            assert code == 0, said + (tree / "vendor.log").read_text()
            task = json.loads(said[said.index("{") :])
            timeline = (await gateway.api.get(f"/v1/tasks/{task['id']}/timeline")).json()["data"]
            described = (await gateway.api.get("/openapi.json")).text
    finally:
        made.kill()
        await made.wait()
    assert task["status"] == "succeeded"
    [item] = task["items"]
    assert item["artifacts"] == {"audio": item["artifacts"]["audio"]}
    assert item["artifacts"]["audio"]["url"] == "https://cdn.example/r.mp3?k=1"
    assert ("callback" if calls_back else "query") in {one["type"] for one in timeline}
    assert "remix.create" in described


def test_without_the_entry_the_kind_is_refused() -> None:
    """What the page adds is not there already."""
    assert "remix" not in (ROOT / "app" / "tempolor" / "kinds.py").read_text().lower()
