"""What others do with the OpenAPI document: lint it, and generate clients of it, which compile strictly and let no
wrong kind, param or code pass."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest

from app.api.app import rest_api
from tests.deployment.tools import CACHE, INSTALL_S, installed, packages, run, well

TOOLS = Path(__file__).parent / "openapi_tools"


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A copy of the tools' files with the document as ``openapi.json``."""
    copy = tmp_path / "tools"
    shutil.copytree(TOOLS, copy, ignore=shutil.ignore_patterns("node_modules"))
    (copy / "openapi.json").write_text(json.dumps(rest_api("0").openapi()))
    return copy


@pytest.fixture
async def node(folder: Path) -> Path:
    """The commands of the tools of npm."""
    (folder / "node_modules").symlink_to(await packages(TOOLS))
    return folder / "node_modules" / ".bin"


@pytest.fixture
async def python() -> Path:
    """The commands of the tools of Python, in an environment of their own."""
    lock = TOOLS / "requirements.lock"
    name = f"python-{hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]}"

    async def install(making: Path) -> tuple[int, str]:
        # Its commands name their interpreter, so it is made where it stays.
        code, said = await run(sys.executable, "-m", "venv", str(making), cwd=TOOLS)
        if code != 0:
            return code, said
        command = (
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
            "-r",
            str(lock),
        )
        return await run(str(making / "bin" / "python"), *command, cwd=TOOLS, timeout_s=INSTALL_S)

    return await installed(CACHE / name, install) / "bin"


async def test_redocly_finds_no_fault(folder: Path, node: Path) -> None:
    said = await well(str(node / "redocly"), "lint", "openapi.json", "--format", "json", cwd=folder)
    assert json.loads(said[said.index("{") : said.rindex("}") + 1])["totals"] == {
        "errors": 0,
        "warnings": 0,
        "ignored": 0,
    }


async def test_spectral_finds_no_fault(folder: Path, node: Path) -> None:
    said = await well(str(node / "spectral"), "lint", "openapi.json", "--fail-severity", "hint", cwd=folder)
    assert "No results" in said


async def test_the_types_of_openapi_typescript_and_the_client_of_hey_api_let_nothing_wrong_pass(
    folder: Path, node: Path
) -> None:
    await well(str(node / "openapi-typescript"), "openapi.json", "--output", "types.ts", cwd=folder)
    await well(str(node / "openapi-ts"), "--input", "openapi.json", "--output", "hey", cwd=folder)
    await well(str(node / "tsc"), "--project", ".", cwd=folder)


async def test_the_clients_of_openapi_python_client_and_datamodel_code_generator_let_nothing_wrong_pass(
    folder: Path, python: Path
) -> None:
    await well(
        *(str(python / "openapi-python-client"), "generate", "--path", "openapi.json", "--output-path", "client"),
        cwd=folder,
        # It formats by a command that it looks for.
        env={"PATH": f"{python}:/usr/bin:/bin"},
    )
    await well(
        *(str(python / "datamodel-codegen"), "--input", "openapi.json", "--input-file-type", "openapi"),
        *("--output-model-type", "pydantic_v2.BaseModel", "--target-python-version", "3.11", "--use-annotated"),
        *("--output", "models.py"),
        cwd=folder,
    )
    client = Path("client") / "tem_polor_gateway_client"
    uses = ("uses/openapi_python_client.py", "uses/datamodel_code_generator.py")
    await well(
        *(str(python / "mypy"), "--strict", "--config-file=", str(client), "models.py", *uses),
        cwd=folder,
        env={"MYPYPATH": f"{folder}:{folder / 'client'}"},
    )
