"""A gateway posts to its own public URL: what arrives here is known again, anything else is told."""

import asyncio
from dataclasses import replace

import pytest

from app.operations.self_check import AGAIN_S, EVERY_S, START_S, SelfCheck
from app.wiring import default_tls_context
from tests.support.cut_proxy import answer, answering
from tests.support.databases import on_sqlite
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running, make_gateway, make_settings, running_gateway
from tests.support.gateway_warnings import metric, told
from tests.support.logs import capture_logs
from tests.support.start_fixtures import StartGateway

pytestmark = on_sqlite
OTHER_SECRET = "another-secret-0123456789abcdef0123456789"


def _check(gateway: Running, url: str) -> SelfCheck:
    """That of a replica of this gateway whose public URL is ``url``."""
    return SelfCheck(replace(gateway.gateway.context, public_url=url), default_tls_context(), None)


async def _counted(gateway: Running, disposition: str) -> bool:
    text = (await gateway.api.get("/metrics")).text
    return f'gateway_callbacks_total{{disposition="{disposition}",family="song"}}' in text


async def test_a_check_that_arrives_leaves_nothing_and_is_no_guess(database_url: str) -> None:
    clock = ScaledClock()
    async with running_gateway(database_url, workers=False, clock=clock) as gateway:
        # One wrong token from this address is one too many.
        gateway.gateway.services.meter.most_failures = 0
        check = _check(gateway, gateway.url)
        await check.step()
        assert check.fault is None
        assert await metric(gateway, "gateway_callbacks_unreachable") == {"": 0}
        assert await _counted(gateway, "self_check")
        assert (await gateway.api.get("/v1/callbacks")).json()["data"] == []
        assert (await gateway.api.post("/callbacks/song/wrong", json={})).status_code == 429


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        ("404 Not Found", "answered 404"),
        ("200 OK", "answered 200"),
        ("403 Forbidden", "answered 403, by something other than this gateway"),
        ("301 Moved Permanently\r\nLocation: https://elsewhere.example", "answered 301"),
    ],
)
async def test_another_answer_is_told_until_the_check_arrives(database_url: str, status: str, fault: str) -> None:
    clock = ScaledClock()
    with capture_logs() as logs:
        async with running_gateway(database_url, workers=False, clock=clock) as gateway:
            async with answering(answer(status, '{"code": "forbidden"}')) as (url, requests):
                check = _check(gateway, url)
                assert await check.step() == AGAIN_S[0]
                assert check.fault == fault
                assert requests[0].startswith(b"POST /callbacks/song/")
                assert await metric(gateway, "gateway_callbacks_unreachable") == {"": 1}
                [line] = told(logs, "callbacks.unreachable")
                assert (line["log_level"], line["public_url"], line["fault"]) == ("warning", url, fault)
                token = requests[0].split(b" ")[1].rpartition(b"/")[2].decode()
                assert token not in str(line)
            # Nobody listens there any more.
            assert await check.step() == 2 * AGAIN_S[0]
            assert (check.fault or "").startswith("was not reached")
            check._context.public_url = gateway.url
            await check.step()
            assert check.fault is None
            assert len(told(logs, "callbacks.reachable_again")) == 1
            assert await metric(gateway, "gateway_callbacks_unreachable") == {"": 0}


async def test_the_gateway_of_another_deployment_is_not_taken_for_ours(database_url: str) -> None:
    clock = ScaledClock()
    async with running_gateway(database_url, workers=False, clock=clock) as gateway:
        ours = make_gateway(make_settings(database_url, callback_secrets=OTHER_SECRET), workers=False, clock=clock)
        check = SelfCheck(replace(ours.context, public_url=gateway.url), default_tls_context(), None)
        await check.step()
        assert check.fault == "answered 403, by something other than this gateway"
        await ours.context.db.close()


async def test_it_is_made_at_the_start_and_each_hour_and_more_often_after_a_failure(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(workers=False, loop_idle_s=60)
    async with answering(answer("404 Not Found")) as (url, requests):
        check = gateway.gateway.self_check = _check(gateway, url)
        gateway.gateway.listens()
        await asyncio.sleep(START_S - 0.1)
        assert requests == []
        await asyncio.sleep(0.2)
        assert len(requests) == 1
        await asyncio.sleep(AGAIN_S[0])
        assert len(requests) == 2
        check._context.public_url = gateway.url
        assert 0.9 * EVERY_S <= (await check.step() or 0) <= 1.1 * EVERY_S
        check._context.public_url = url
        assert await check.step() == AGAIN_S[0]


@pytest.mark.parametrize(
    ("public_url", "given", "checked"),
    [
        ("https://music.company.example", {}, True),
        ("https://music.company.example", {"self_check": False}, False),
        ("http://127.0.0.1:8000", {}, False),
        ("http://localhost:8000", {}, False),
        ("https://[::1]", {}, False),
    ],
)
async def test_a_loopback_address_needs_no_check(
    database_url: str, public_url: str, given: dict[str, bool], checked: bool
) -> None:
    gateway = make_gateway(make_settings(database_url, public_url=public_url, **given), workers=False)
    assert (gateway.self_check is not None) is checked
    await gateway.context.db.close()
