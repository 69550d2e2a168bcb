"""No block of the documentation is left out, and what the prose names exists: files, headings, commands, routes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from app.cli import app
from app.runtime.metrics import registry
from app.settings import PREFIX, Settings
from tests.docs.pages import BLOCKS, ELSEWHERE, PAGES, ROOT, Block, blocks, without_blocks
from tests.support.databases import on_sqlite
from tests.support.start_fixtures import StartGateway

EXECUTED = {
    ("sh",): "tests/docs/test_shell.py",
    ("sh", "until-interrupted"): "tests/docs/test_shell.py",
    ("sh", "own-processes"): "tests/docs/test_shell.py",
    ("python",): "tests/docs/test_python.py",
    ("python", "receiver"): "tests/docs/test_python.py",
    ("ts",): "tests/deployment/test_typescript.py",
    ("sh", "remix"): "tests/docs/test_add_a_kind.py",
    ("python", "vendor"): "tests/docs/test_add_a_kind.py",
    ("diff", "app/tempolor/params.py"): "tests/docs/test_add_a_kind.py",
    ("diff", "app/tempolor/kinds.py"): "tests/docs/test_add_a_kind.py",
    ("nginx", "ops/nginx/one.conf"): "tests/deployment/test_nginx.py",
    ("nginx", "ops/nginx/two.conf"): "tests/deployment/test_nginx.py",
}
READ = {("json",), ("yaml",), ("nginx",), ("mermaid",), ("text",)}
"""Checked on this page, as far as that goes without what would read them."""
NOT_RUN = {
    "make setup               #": "it makes .venv anew, and `make test` is another run of the tests",
    "make test ARGS=tests/rules": "each line is a run of the tests, in which this one could be",
    "make demo    #": "the demo is a run of its own in CI (.ci/run), and `make test` would run this test",
    "make setup\n": "it makes .venv anew, and `serve` stays; each of its commands is run by tests/processes",
    "make mutants    ": "it runs much of the suite for each of a hundred faults",
    "cp .env.example .env                  # POSTGRES": "needs a Docker engine; the compose file is checked by itself",
    "cd sdk/typescript && npm ci": "the package is built, packed and installed by tests/deployment/test_typescript.py",
    "GATEWAY_ARCHIVE_URL=file:///var": "it shows the forms of one setting",
    "docker compose build\n": "needs a Docker engine; the compose file is checked by itself",
    "docker compose stop serve-1 serve-2 worker": "needs a Docker engine; the same without it stands below and is run",
}
"""How a block begins that is marked `no-run`, and why it is not."""
NAMED_COMMAND = re.compile(r"tempolor-gateway ((?:[a-z][a-z-]*\b ?)+)([^`\n]*)")


def _line_is_not_run(block: Block) -> list[str]:
    return [reason for start, reason in NOT_RUN.items() if block.text.startswith(start)]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_is_executed_or_says_why_not(block: Block) -> None:
    how = (block.language, *block.words)
    if block.page in ELSEWHERE and how == ("python",):
        assert block.page in (ROOT / ELSEWHERE[block.page]).read_text()
    elif block.words == ("no-run",):
        assert len(_line_is_not_run(block)) == 1, block.text
    else:
        assert how in READ or (ROOT / EXECUTED[how]).exists()


def test_no_reason_is_left_over() -> None:
    assert [start for start in NOT_RUN if not any(b.text.startswith(start) for b in blocks("sh", "no-run"))] == []


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json_is_json(block: Block) -> None:
    assert json.loads(block.text)


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_yaml_is_yaml(block: Block) -> None:
    assert yaml.safe_load(block.text)


@pytest.mark.parametrize("block", blocks("nginx"), ids=str)
def test_nginx_is_made_of_directives_and_blocks(block: Block) -> None:
    """As far as it goes without nginx: braces in pairs, and each line a directive, a block's head or its end."""
    lines = [line.partition(" #")[0].strip() for line in block.text.splitlines() if line.strip()]
    depth = 0
    for line in lines:
        assert re.fullmatch(r"location \S+ \{( \w[^;{}]*; \})?|\w[^;{}]*;|\}", line), line
        depth += line.count("{") - line.count("}")
        assert depth in (0, 1)
    assert depth == 0
    for prefix in re.findall(r"location (\S+)", block.text):
        assert prefix in ("/callbacks/", "/music/callbacks/", "/")


@pytest.mark.parametrize("block", blocks("mermaid"), ids=str)
def test_pictures_are_arrows_between_names(block: Block) -> None:
    first, *arrows = block.text.splitlines()
    assert first.startswith("flowchart ")
    name = r"\w+(?:\(\[\w[\w ]*\]\)|\(\w[\w ]*\)|\[\([^\]]+\)\]|\[[^\]]+\])?"
    assert [line for line in arrows if not re.fullmatch(rf"    {name} -->(?:\|[^|]+\|)? {name}", line)] == []


@pytest.mark.parametrize("block", blocks("text"), ids=str)
def test_what_a_listing_of_the_code_names_exists(block: Block) -> None:
    names = re.findall(r"^[├└]── (\S+)", block.text, re.MULTILINE)
    assert names
    assert [name for name in names if not (ROOT / "app" / name).exists()] == []
    there = {path.name for path in (ROOT / "app").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert there <= {name.rstrip("/") for name in names}


def _anchors(page: str) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", without_blocks((ROOT / page).read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page: str) -> None:
    for link in re.findall(r"\]\((?!http)([^)]+)\)", without_blocks(PAGES[page])):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target.resolve().relative_to(ROOT).as_posix()), link


def test_every_page_is_in_the_table_of_contents() -> None:
    assert [page for page in PAGES if page != "README.md" and f"]({page})" not in PAGES["README.md"]] == []


def _inline(page: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", without_blocks(PAGES[page]))


@pytest.mark.parametrize("page", PAGES)
def test_the_modules_that_are_named_exist(page: str) -> None:
    """By their path, by the end of it (`tasks/apply.py`), or by the name of the file alone."""
    tops = ("app", "benchmarks", "migrations", "sdk", "tests")
    known = {f"/{path.relative_to(ROOT).as_posix()}" for top in tops for path in (ROOT / top).rglob("*.py")}
    named = {name for text in _inline(page) for name in re.findall(r"(?<![\w/-])[a-z_/]+\.py\b", text)}
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in known)] == []


@pytest.mark.parametrize("page", PAGES)
def test_the_services_of_compose_that_are_named_exist(page: str) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    named = re.findall(r"docker compose (?:exec|run|stop|start|up|logs)(?: --[\w=-]+)*((?: [a-z][\w-]*)+)", PAGES[page])
    words = [words.split() for words in named]
    # Behind the first name stand further ones, or the command that is run there.
    assert [one[0] for one in words if one[0] not in services] == []


def _commands_of(page: str) -> Iterator[tuple[str, str]]:
    shell = [block.text for block in BLOCKS if block.page == page and block.language == "sh"]
    for text in (*_inline(page), *shell):
        for words, rest in NAMED_COMMAND.findall(text):
            yield words, rest.partition("#")[0]


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_that_are_named_exist_with_their_options(page: str) -> None:
    for words, rest in _commands_of(page):
        command: Any = get_command(app)
        for word in words.split():
            if not hasattr(command, "commands"):
                break
            assert word in command.commands, f"tempolor-gateway {words}"
            command = command.commands[word]
        known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        assert set(re.findall(r"--[a-z][a-z-]*", rest)) <= known | {"--help"}, f"tempolor-gateway {words}{rest}"


@on_sqlite
async def test_the_routes_that_are_named_exist(start_gateway: StartGateway) -> None:
    paths = (await (await start_gateway(workers=False)).api.get("/openapi.json")).json()["paths"]
    known = {
        f"{method.upper()} {re.sub(r'{.+?}', '{}', path)}" for path, methods in paths.items() for method in methods
    }
    named = set()
    for page in PAGES:
        for method, path in re.findall(r"`(GET|POST|PUT|DELETE) (/v1[^`?\s]*)", without_blocks(PAGES[page])):
            named.add(f"{method} {re.sub(r'{.+?}|[A-Z]+', '{}', path)}")
    assert len(named) > 20
    assert {one for one in named if not one.endswith("…")} <= known


@pytest.mark.parametrize("page", PAGES)
def test_the_settings_and_metrics_that_are_named_exist(page: str) -> None:
    settings = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", PAGES[page])) <= settings
    metrics = {name for names in registry._collector_to_names.values() for name in names}
    assert {name for name in re.findall(r"\bgateway_[a-z_]+\b", PAGES[page]) if name != "gateway_"} <= metrics


@pytest.mark.parametrize("page", PAGES)
def test_the_make_targets_that_are_named_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shell = [block.text for block in BLOCKS if block.page == page and block.language == "sh"]
    named = {name for text in (*_inline(page), *shell) for name in re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)}
    assert named <= targets


@pytest.mark.parametrize("page", PAGES)
def test_the_files_of_this_repository_that_are_named_exist(page: str) -> None:
    named = {text.partition("::")[0] for text in _inline(page)}
    rooms = [path.name for path in (ROOT / "app").iterdir() if path.is_dir()]
    known = "|".join(("app", "tests", "migrations", "ops", "docs", "benchmarks", *rooms))
    ours = {name for name in named if re.fullmatch(rf"(?:{known})/[\w./-]+", name) and "YYYY" not in name}
    assert [name for name in sorted(ours) if not any(Path(at / name).exists() for at in (ROOT, ROOT / "app"))] == []
    alone = {name for name in named if re.fullmatch(r"\w+\.py", name)}
    assert [name for name in sorted(alone) if not any((ROOT / "app").rglob(name))] == []


@pytest.mark.parametrize("page", PAGES)
def test_the_tests_that_are_named_exist(page: str) -> None:
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGES[page]):
        assert re.search(rf"^(?:async )?def {name}\b", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{name}"
