"""Behind a proxy: whose request it is, for the inbound log, the allowed networks, and the throttle of wrong tokens.

Loopback has many addresses, so clients call from 127.0.0.2 and up; the proxy speaks from 127.0.0.1.
"""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.web.proxy_headers import read_address
from app.web.wrong_key_limit import MOST_FAILURES
from tests.chaos.load import TOKENS
from tests.deployment.proxy import proxying
from tests.support.commands import environment, run, running
from tests.support.databases import on_sqlite
from tests.support.gateway import Running, running_gateway
from tests.support.not_none import present
from tests.support.song_callbacks import song

PROXY = "127.0.0.1"
CALLER = "127.0.0.2"
OTHER = "127.0.0.3"
FORGED = "203.0.113.9"


def _from(address: str, url: str) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(local_address=address, limits=httpx.Limits(max_keepalive_connections=0))
    return httpx.AsyncClient(base_url=url, transport=transport, timeout=20)


def _path() -> str:
    return f"/callbacks/song/{TOKENS.sign('song', None)}"


async def _logged(gateway: Running) -> list[str]:
    rows = (await gateway.api.get("/v1/callbacks")).json()["data"]
    return [(await gateway.api.get(f"/v1/callbacks/{row['id']}")).json()["address"] for row in reversed(rows)]


async def _port(gateway: Running) -> int:
    port = httpx.URL(gateway.url).port
    assert port is not None
    return port


@pytest.mark.parametrize(
    ("believed", "seen"), [([PROXY], CALLER), (["127.0.0.0/31"], CALLER), ([OTHER], PROXY), ([], PROXY)]
)
@on_sqlite
async def test_the_inbound_log_has_the_callers_address_where_the_proxy_is_known(
    database_url: str, believed: list[str], seen: str
) -> None:
    async with (
        running_gateway(database_url, workers=False, forwarded_allow_ips=believed) as gateway,
        proxying(await _port(gateway)) as url,
        _from(CALLER, url) as api,
    ):
        for n, headers in enumerate(({}, {"X-Forwarded-For": FORGED}, {"X-Forwarded-For": f"{FORGED}, {FORGED}"})):
            answer = await api.post(_path(), json=song(f"t2m_{n}"), headers=headers)
            assert (answer.status_code, answer.text) == (200, "success")
        assert await _logged(gateway) == [seen] * 3


@on_sqlite
async def test_who_passes_the_proxy_by_is_not_believed(database_url: str) -> None:
    async with (
        running_gateway(database_url, workers=False, forwarded_allow_ips=[PROXY]) as gateway,
        _from(OTHER, gateway.url) as api,
    ):
        assert (await api.post(_path(), json=song("t2m_1"), headers={"X-Forwarded-For": FORGED})).status_code == 200
        assert await _logged(gateway) == [OTHER]


@on_sqlite
async def test_two_proxies_in_a_row(database_url: str) -> None:
    """The outer one is known as well, so the address that it was called from counts."""
    async with (
        running_gateway(database_url, workers=False, forwarded_allow_ips=[PROXY]) as gateway,
        proxying(await _port(gateway)) as inner,
        proxying(present(httpx.URL(inner).port)) as outer,
        _from(CALLER, outer) as api,
    ):
        assert (await api.post(_path(), json=song("t2m_1"), headers={"X-Forwarded-For": FORGED})).status_code == 200
        assert await _logged(gateway) == [CALLER]


@pytest.mark.parametrize("junk", ["unknown", "", "x" * 5000, "1.2.3.4.5", "_hidden, [::1", "é"])
@on_sqlite
async def test_what_is_no_address_leaves_that_of_the_proxy(database_url: str, junk: str) -> None:
    async with (
        running_gateway(database_url, workers=False, forwarded_allow_ips=[PROXY]) as gateway,
        proxying(await _port(gateway), verbatim=True) as url,
        _from(CALLER, url) as api,
    ):
        answer = await api.post(_path(), json=song("t2m_1"), headers=[(b"X-Forwarded-For", junk.encode("latin-1"))])
        assert (answer.status_code, answer.text) == (200, "success")
        assert await _logged(gateway) == [PROXY]


@on_sqlite
async def test_the_allowed_networks_are_held_against_the_caller(database_url: str) -> None:
    settings: dict[str, Any] = {"forwarded_allow_ips": [PROXY], "callback_allow_cidrs": [f"{CALLER}/32"]}
    async with (
        running_gateway(database_url, workers=False, **settings) as gateway,
        proxying(await _port(gateway)) as url,
        _from(CALLER, url) as vendor,
        _from(OTHER, url) as stranger,
    ):
        assert (await vendor.post(_path(), json=song("t2m_1"))).status_code == 200
        assert (await stranger.post(_path(), json=song("t2m_2"))).status_code == 403
        forged = {"X-Forwarded-For": CALLER}
        assert (await stranger.post(_path(), json=song("t2m_3"), headers=forged)).status_code == 403
        assert len(await _logged(gateway)) == 1


@on_sqlite
async def test_without_a_known_proxy_a_forged_header_opens_nothing(database_url: str) -> None:
    async with (
        running_gateway(database_url, workers=False, callback_allow_cidrs=[f"{CALLER}/32"]) as gateway,
        _from(OTHER, gateway.url) as stranger,
    ):
        forged = {"X-Forwarded-For": CALLER}
        assert (await stranger.post(_path(), json=song("t2m_1"), headers=forged)).status_code == 403
        assert await _logged(gateway) == []


@on_sqlite
async def test_wrong_tokens_are_throttled_by_caller_and_not_by_proxy(database_url: str) -> None:
    async with (
        running_gateway(database_url, workers=False, forwarded_allow_ips=[PROXY]) as gateway,
        proxying(await _port(gateway)) as url,
        _from(CALLER, url) as guesser,
        _from(OTHER, url) as other,
    ):

        async def guess(api: httpx.AsyncClient, n: int) -> int:
            # A new forged address each time does not help.
            headers = {"X-Forwarded-For": f"203.0.113.{n % 250}"}
            return (await api.post("/callbacks/song/wrong", json={}, headers=headers)).status_code

        for start in range(0, MOST_FAILURES, 20):
            assert set(await asyncio.gather(*(guess(guesser, start + n) for n in range(20)))) == {403}
        assert await guess(guesser, 0) == 429
        assert await guess(other, 0) == 403
        # A right token is never slowed down.
        assert (await guesser.post(_path(), json=song("t2m_1"))).status_code == 200


@on_sqlite
async def test_the_variable_of_the_environment_is_read_and_checked(tmp_path: Path, database_url: str) -> None:
    env = environment(database_url) | {"FORWARDED_ALLOW_IPS": f" 10.0.0.0/8, {PROXY}"}
    async with running("serve", "--workers-off", env=env, cwd=tmp_path) as served:
        headers = {"X-Forwarded-For": FORGED}
        assert (await served.api.post(_path(), json=song("t2m_1"), headers=headers)).status_code == 200
        [row] = (await served.api.get("/v1/callbacks")).json()["data"]
        assert (await served.api.get(f"/v1/callbacks/{row['id']}")).json()["address"] == FORGED
    bad = await run("serve", env=environment(database_url) | {"FORWARDED_ALLOW_IPS": "proxy.example"}, cwd=tmp_path)
    assert bad.code != 0
    assert "  FORWARDED_ALLOW_IPS: it must be" in bad.err
    assert "Traceback" not in bad.err


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (" 203.0.113.9 ", "203.0.113.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        (f"fe80::1%{'x' * 100}", "fe80::1"),
        ("[2001:db8::1", "None"),
        ("unknown", "None"),
        ("203.0.113.9, 1.1.1.1", "None"),
    ],
)
def test_addresses_as_proxies_write_them(text: str, address: str) -> None:
    assert str(read_address(text)) == address
