"""One trace from a submission to its notification, through real processes, into a real receiver of OTLP."""

import asyncio
import gzip
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.runtime import traces
from tests.support.commands import environment, running
from tests.support.gateway import PARAMS, eventually
from tests.support.notifications import watching
from tests.support.receiver import OK
from tests.support.start_fixtures import StartSandbox

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class Collector:
    """What was exported. ``url``: its endpoint."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self.url = ""

    def of(self, trace_id: str) -> dict[str, Any]:
        """The spans of a trace by their ids."""
        return {span.span_id.hex(): span for span in self.spans if span.trace_id.hex() == trace_id}

    def take(self, head: bytes, body: bytes) -> None:
        content = gzip.decompress(body) if b"content-encoding: gzip" in head.lower() else body
        request = ExportTraceServiceRequest.FromString(content)
        for one in request.resource_spans:
            self.services |= {item.value.string_value for item in one.resource.attributes if item.key == "service.name"}
            self.spans += [span for scope in one.scope_spans for span in scope.spans]


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A receiver of OTLP over HTTP."""
    found = Collector()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                [length] = [
                    int(line.partition(b":")[2])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                ]
                found.take(head, await reader.readexactly(length))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()


async def test_one_trace_from_the_submission_to_the_notification(
    database_url: str, tmp_path: Path, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=100)
    async with watching(OK) as receiver, collecting() as collector:
        env = environment(database_url, tempolor_base_url=sandbox.base_url, egress_allow_private="true")
        env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        # The vendor must reach the gateway: it listens where the settings say that it does.
        port = await _free_port()
        env["GATEWAY_PUBLIC_URL"] = f"http://127.0.0.1:{port}"
        async with running("serve", "--port", str(port), env=env, cwd=tmp_path) as served:
            body = {"kind": "lyrics.generate", "params": PARAMS["lyrics.generate"], "webhook_url": receiver.url()}
            answer = await served.api.post("/v1/tasks", json=body, headers={"traceparent": PARENT})
            task_id = answer.json()["id"]

            async def ended() -> bool:
                return any(b"task.succeeded" in one for one in receiver.bodies)

            await eventually(ended, timeout_s=60)
            # A callback's own word about a trace is the internet's, and is not heeded.
            forged = "1" * 32
            await served.api.post("/callbacks/lyrics/x", json={}, headers={"traceparent": f"00-{forged}-{'2' * 16}-01"})
            assert await served.terminate() == 0
    spans = collector.of(TRACE)
    names = {span.name for span in spans.values()}
    assert {"POST /v1/tasks", "dispatch", "callback", "apply", "notify"} <= names
    assert collector.services == {"tempolor-gateway"}
    assert not collector.of(forged)
    [root] = [span for span in spans.values() if span.name == "POST /v1/tasks"]
    assert root.parent_span_id.hex() == "b7ad6b7169203331"
    for span in spans.values():
        if span is not root:
            assert span.parent_span_id.hex() in spans, span.name
        assert span.end_time_unix_nano >= span.start_time_unix_nano
    under_callbacks = [span for span in spans.values() if _parent_name(spans, span) == "callback"]
    assert {span.name for span in under_callbacks} == {"apply"}
    of_task = [span for span in spans.values() if span.name != "POST /v1/tasks"]
    assert all(_attributes(span)["task_id"] == task_id for span in of_task)
    # The receiver can go on with the trace.
    carried = [had["traceparent"].split("-") for had in receiver.headers]
    assert {one[1] for one in carried} == {TRACE}
    assert all(spans[one[2]].name == "notify" for one in carried)


async def test_without_the_variables_nothing_is_imported_stored_or_sent(database_url: str, tmp_path: Path) -> None:
    async with running("serve", "--workers-off", env=environment(database_url), cwd=tmp_path) as served:
        maps = (await asyncio.to_thread(_modules_without_traces)).split()
        body = {"kind": "lyrics.generate", "params": PARAMS["lyrics.generate"]}
        answer = await served.api.post("/v1/tasks", json=body, headers={"traceparent": PARENT})
        assert answer.status_code == 202
    assert maps == ["False"]


def test_where_the_extra_is_missing_the_process_says_so_and_goes_on() -> None:
    code = (
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "from app.runtime import traces\n"
        "traces.set_up()\n"
        "assert not traces.is_on()\n"
        "with traces.span('x') as span: span.note(a=1)\n"
    )
    env = {**os.environ, "OTEL_TRACES_EXPORTER": "otlp"}
    ended = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "traces.not_installed" in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("environment_", "wanted"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
    ],
)
def test_the_standard_variables_decide(environment_: dict[str, str], wanted: bool) -> None:
    assert traces.is_wanted(environment_) is wanted


def _modules_without_traces() -> str:
    code = "import sys, app.cli; print(any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


async def _free_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return int(port)


def _parent_name(spans: dict[str, Any], span: Any) -> str:
    parent = spans.get(span.parent_span_id.hex())
    return "" if parent is None else parent.name


def _attributes(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value for one in span.attributes}
