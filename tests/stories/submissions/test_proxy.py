"""The vendor is called through the proxy that the client is given, and the environment is not asked for another."""

import asyncio

import pytest

from app.tempolor.answers import Unanswered
from app.tempolor.client import VendorClient
from app.wiring import default_tls_context
from tests.support.cut_proxy import answer, answering

ACCOUNT = '{"status": 200000, "message": "ok", "data": {"balance": 5}}'
KEY = "Tempo-0123456789abcdef0123456789abcdef"


async def ask(base_url: str, proxy: str | None) -> object:
    client = VendorClient(base_url, KEY, default_tls_context(), proxy=proxy)
    try:
        return await client.account()
    finally:
        await client.close()


async def test_a_call_over_http_is_handed_to_the_proxy() -> None:
    async with answering(answer("200 OK", ACCOUNT)) as (url, requests):
        found = await ask("http://vendor.invalid/base", url.replace("://", "://user:p%40ss@"))
    assert found == {"balance": 5}
    (request,) = requests
    assert b" http://vendor.invalid/base/" in request.split(b"\r\n")[0]
    # user:p@ss
    assert b"proxy-authorization: basic dxnlcjpwqhnz" in request.lower()


async def test_a_call_over_tls_goes_through_a_tunnel_and_keeps_the_key_from_the_proxy() -> None:
    async with answering(answer("403 Forbidden")) as (url, requests):
        found = await ask("https://vendor.invalid", url)
    assert isinstance(found, Unanswered)
    (request,) = requests
    assert request.startswith(b"CONNECT vendor.invalid:443 HTTP/1.1\r\n")
    assert KEY.encode() not in request


@pytest.mark.parametrize("no_proxy", ["", "[::1]", "localhost,fd07:b51a:cc66:f0::/64"])
async def test_the_environment_is_not_heeded(monkeypatch: pytest.MonkeyPatch, no_proxy: str) -> None:
    async with (
        answering(answer("200 OK", ACCOUNT)) as (vendor, _),
        answering(answer("502 Bad Gateway")) as (proxy, asked),
    ):
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy)
        monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", no_proxy)
        assert await asyncio.wait_for(ask(vendor, None), 20) == {"balance": 5}
    assert asked == []
