"""The TypeScript client as its users have it: built strictly, of types that are the document's, and used by Node
against a gateway and a sandbox of the vendor."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.api.app import rest_api
from tests.deployment.tools import packages, well
from tests.docs.pages import blocks
from tests.support.databases import on_sqlite
from tests.support.gateway import ADMIN_KEY
from tests.support.start_fixtures import StartGateway, StartSandbox

SDK = Path(__file__).parents[2] / "sdk" / "typescript"


@pytest.fixture
async def package(tmp_path: Path) -> Path:
    """A copy of the package with what it is built with."""
    modules = await packages(SDK)
    copy = tmp_path / "typescript"
    shutil.copytree(SDK, copy, ignore=shutil.ignore_patterns("node_modules", "dist", "build", "openapi.json"))
    (copy / "node_modules").symlink_to(modules)
    return copy


async def test_its_types_are_those_of_the_document(package: Path) -> None:
    (package / "openapi.json").write_text(json.dumps(rest_api("0").openapi()))
    await well("npm", "run", "generate", cwd=package)
    generated = (package / "src" / "openapi.ts").read_text()
    assert generated == (SDK / "src" / "openapi.ts").read_text(), "`make typescript` writes it anew"


@on_sqlite
async def test_it_works_from_node(
    package: Path, tmp_path: Path, start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    gateway = await start_gateway(
        await start_sandbox(scale=200), archive_url=f"file://{tmp_path / 'files'}", egress_allow_private=True
    )
    made: dict[str, Any] = (await gateway.api.post("/v1/clients", json={"name": "studio"})).json()
    said = await well(
        *("npm", "test"),
        cwd=package,
        env={
            "GATEWAY_URL": gateway.url,
            "GATEWAY_KEY": made["api_key"],
            "WEBHOOK_SECRET": made["webhook_secret"],
        },
    )
    assert "# fail 0" in said, said
    assert "# pass 10" in said, said


@on_sqlite
async def test_the_snippets_of_the_docs_compile_and_the_first_makes_a_song(
    package: Path, start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    """They import the package by its name, as its users do."""
    docs = package / "docs"
    docs.mkdir()
    for index, block in enumerate(blocks("ts")):
        (docs / f"{index}.ts").write_text(block.text)
    options = {"types": ["node"], "rootDir": ".", "outDir": "../build/docs", "declaration": False}
    (docs / "tsconfig.json").write_text(
        json.dumps({"extends": "../tsconfig.json", "compilerOptions": options, "include": ["."]})
    )
    await well("npm", "run", "build", cwd=package)
    await well("node_modules/.bin/tsc", "-p", "docs", cwd=package)
    gateway = await start_gateway(await start_sandbox(scale=200))
    given = {"TEMPOLOR_GATEWAY_URL": gateway.url, "TEMPOLOR_GATEWAY_KEY": ADMIN_KEY}
    said = await well("node", "build/docs/0.js", cwd=package, env=given)
    assert "http" in said.splitlines()[0]
    assert said.splitlines()[-1].endswith("succeeded")
    assert (package / "song.mp3").read_bytes().startswith(b"ID3")


async def test_the_package_has_what_its_users_import_and_nothing_else(package: Path, tmp_path: Path) -> None:
    await well("npm", "run", "build", cwd=package)
    packed = json.loads(await well("npm", "pack", "--json", "--ignore-scripts", cwd=package))
    names = {Path(file["path"]).parts[0] for file in packed[0]["files"]}
    assert names == {"dist", "README.md", "package.json"}
    user = tmp_path / "user"
    (user / "node_modules" / "tempolor-gateway-client").mkdir(parents=True)
    for name in names:
        target = user / "node_modules" / "tempolor-gateway-client" / name
        source = package / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    (user / "index.mjs").write_text(
        'import { GatewayClient, verifyNotification } from "tempolor-gateway-client";\n'
        "console.log(typeof GatewayClient, typeof verifyNotification);\n"
    )
    assert await well("node", "index.mjs", cwd=user) == "function function\n"
    described = json.loads((SDK / "package.json").read_text())
    assert "dependencies" not in described
    assert '"resolved"' not in (SDK / "package-lock.json").read_text()
