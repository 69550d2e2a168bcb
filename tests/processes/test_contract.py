"""The whole OpenAPI document against the real thing: whatever a request that it allows, or does not allow, is answered
as it says."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.databases import on_sqlite
from tests.support.programs import run_program
from tests.support.start_fixtures import StartGateway, StartSandbox

CONFIG = "max-stream-events = 2\n"
# What a schema cannot say may still be wrong (params that a kind needs, a cursor of other filters), so a request that
# fits the schema may be refused.
NOT_CHECKED = "positive_data_acceptance"
MOST_S = 900


@pytest.mark.slow
@on_sqlite
async def test_every_answer_is_as_the_document_says_and_none_is_a_fault_of_the_server(
    start_gateway: StartGateway,
    start_sandbox: StartSandbox,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    sandbox = await start_sandbox(scale=300)
    gateway = await start_gateway(sandbox, query_rate_per_s=50, archive_url=f"file://{tmp_path / 'files'}")
    # The checks of authentication alone are hundreds of wrong keys.
    gateway.gateway.services.meter.most_failures = 10**9
    gateway.gateway.services.heartbeat_s = 0.1
    # Shorter than a request may take.
    gateway.gateway.services.longest_wait_s = 1
    for kind in ("song.generate", "lyrics.generate"):
        await gateway.submit(kind)
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    ended = await run_program(
        Path(sys.executable).with_name("st"),
        f"--config-file={config}",
        "run",
        f"{gateway.url}/openapi.json",
        f"--header=Authorization: {gateway.api.headers['Authorization']}",
        "--max-examples=5",
        "--no-shrink",
        "--request-timeout=15",
        f"--exclude-checks={NOT_CHECKED}",
        "--warnings=off",
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
        timeout_s=MOST_S,
        apart=False,
    )
    assert ended.code == 0, ended.text
    # It did run, over all of the document.
    document = (await gateway.api.get("/openapi.json")).json()
    operations = sum(len(methods) for methods in document["paths"].values())
    assert f"Tested: {operations}" in ended.text
    record_property("figures", next(line.strip() for line in ended.text.splitlines() if " generated" in line))
