"""What the vendor's ``Retry-After`` says reaches those who decide when to try again."""

from collections.abc import AsyncIterator

import pytest

from app.tempolor.answers import Refused, Unanswered
from app.tempolor.client import VendorClient
from app.tempolor.kinds import FAMILIES, KINDS
from app.wiring import default_tls_context
from tests.support.start_fixtures import StartSandbox


@pytest.fixture
async def client(start_sandbox: StartSandbox) -> AsyncIterator[VendorClient]:
    sandbox = await start_sandbox()
    for operation in ("submit", "query"):
        sandbox.add_rules(answers=[{"operation": operation, "http_status": 429, "retry_after_s": 7}])
    client = VendorClient(sandbox.base_url, sandbox.config.api_key, default_tls_context())
    yield client
    await client.close()


async def test_of_a_submission(client: VendorClient) -> None:
    params = {"prompt": "slow pop ballad", "model": "tempolor-latest"}
    answer = await client.submit(KINDS["song.generate"], params, "http://127.0.0.1:9/callbacks/song/x", 5)
    assert isinstance(answer, Refused)
    assert (answer.meaning.code, answer.retry_after_s) == ("vendor_rate_limited", 7)


async def test_of_a_query(client: VendorClient) -> None:
    answer = await client.query(FAMILIES["song"], ["t2m_1"])
    assert isinstance(answer, Unanswered)
    assert (answer.reason, answer.retry_after_s) == ("http_429", 7)
