"""An upload reaches the vendor, who fetches it when it comes to it: an hour after the submission, by the clock."""

import hashlib
from pathlib import Path

import pytest

from tests.support.fast_clock import ScaledClock
from tests.support.file_server import MP3
from tests.support.gateway import eventually
from tests.support.start_fixtures import StartGateway, StartSandbox

pytestmark = pytest.mark.real_time
AFTER_S, SCALE = 3600, 2400


@pytest.mark.parametrize(("deadline_s", "is_there"), [(7200, True), (600, False)])
async def test_the_vendor_fetches_an_upload_an_hour_later(
    start_gateway: StartGateway,
    start_sandbox: StartSandbox,
    clock: ScaledClock,
    directory: Path,
    deadline_s: float,
    is_there: bool,
) -> None:
    sandbox = await start_sandbox(scale=SCALE, fetch_inputs_after_s=AFTER_S, durations={"stems_s": AFTER_S + 1200})
    gateway = await start_gateway(
        sandbox, archive_url=f"file://{directory}", egress_allow_private=True, clock=clock, task_deadline_s=deadline_s
    )
    upload = (await gateway.api.post("/v1/uploads?filename=demo.mp3", content=MP3)).json()
    task = await gateway.submit("stems.create", params={"url": upload["url"]})
    await gateway.until(task["id"], "running")
    clock.skip(AFTER_S)

    async def fetched() -> bool:
        return bool(list(sandbox.inputs))

    await eventually(fetched, timeout_s=AFTER_S / SCALE + 15)
    [fetch] = sandbox.inputs
    assert fetch.url.startswith(f"{gateway.url}/files/")
    assert fetch.url.endswith("/demo.mp3")
    if is_there:
        assert (fetch.head, fetch.status, fetch.error) == (200, 200, None)
        assert (fetch.bytes, fetch.sha256) == (len(MP3), hashlib.sha256(MP3).hexdigest())
        ended = await gateway.until(task["id"], "succeeded")
        assert ended["items"][0]["artifacts"]["stems"]["status"] == "ready"
    else:
        # A link lives as long as its task can, and no longer.
        assert (fetch.head, fetch.status, fetch.error) == (403, 403, "not there")
