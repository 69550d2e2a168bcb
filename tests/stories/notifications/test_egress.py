"""Somebody else's URL leads to the public internet or nowhere: refused, logged, and not connected to."""

from ipaddress import ip_address, ip_network
from itertools import permutations

import pytest

from app.errors import InvalidRequest
from app.notifications.post import Delivered, Failed, Forbidden
from app.runtime.egress import EgressGuard, EgressPolicy, EgressRefused, is_public
from app.tasks.webhook_url import check_url
from tests.support.logs import capture_logs
from tests.support.receiver import MESSAGE, Resolver, calling, receiving

REFUSED = Forbidden("address_not_public")

NOT_PUBLIC = {
    "this network": ["0.0.0.0", "0.1.2.3"],
    "private": ["10.0.0.0", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255"],
    "carrier-grade NAT": ["100.64.0.1", "100.100.100.200", "100.127.255.255"],
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "link-local": ["169.254.0.1", "169.254.169.254", "fe80::1", "febf::1", "fe80::1%1"],
    "protocol assignments": ["192.0.0.1", "192.0.0.9", "192.0.0.170", "192.0.0.192", "2001:1::1", "2001:20::1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "benchmarking": ["198.18.0.1", "198.19.255.255", "2001:2::1"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "255.255.255.254", "4000::1", "5f00::1", "fe00::1"],
    "broadcast": ["255.255.255.255"],
    "unspecified": ["::"],
    "unique local": ["fc00::1", "fd00:ec2::254"],
    "site-local": ["fec0::1"],
    "discard-only": ["100::1"],
    "6to4": ["2002:7f00:1::", "2002:a00:1::", "2002:808:808::", "192.88.99.1"],
    "Teredo": ["2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "IPv4-mapped": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:224.0.0.1"],
    "IPv4-compatible": ["::127.0.0.1", "::8.8.8.8"],
    "NAT64": ["64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808"],
    "a cloud's host": ["168.63.129.16"],
}
PUBLIC = ["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.167.1.1", "223.1.1.1"]
PUBLIC += ["2606:4700:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"]

WAYS_HOME = [
    *("127.0.0.1", "localhost", "LOCALHOST", "127.1", "127.0.1", "2130706433", "0x7f.1", "0x7f000001", "0x7F.0.0.1"),
    *(
        "017700000001",
        "0177.1",
        "0",
        "0.0.0.0",
        "127。0。0。1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::]",
    ),
]
"""Ways to write an address of this machine that lead there, if nothing prevents it."""
NEVER_PUBLIC_AND_NEVER_THERE = ["0177.0.0.1", "127.0.0.01", "①②⑦.0.0.1", "[::1%25lo]", "[::127.0.0.1]", "localhost\\.a"]


@pytest.mark.parametrize("network", NOT_PUBLIC)
async def test_no_name_may_lead_to_an_address_that_is_not_public(network: str) -> None:
    for address in NOT_PUBLIC[network]:
        assert not is_public(ip_address(address)), address
        resolver = Resolver([address])
        with calling(allow_private=False, resolve=resolver) as caller, capture_logs() as logs:
            assert await caller.post("http://hooks.example:9/a?token=hush", MESSAGE) == REFUSED, address
        assert [(line["event"], line["addresses"]) for line in logs] == [("egress.refused", [str(ip_address(address))])]
        assert resolver.asked == ["hooks.example"]


def test_public_addresses_pass() -> None:
    assert [one for one in PUBLIC if not is_public(ip_address(one))] == []


@pytest.mark.real_time
async def test_however_it_is_written_this_machine_is_not_connected_to() -> None:
    for host in WAYS_HOME:
        async with receiving(hosts=("127.0.0.1", "::1")) as receiver:
            with calling(allow_private=True) as caller:
                assert await caller.post(receiver.url(host), MESSAGE) == Delivered(200, "thanks"), f"{host} leads here"
            with calling(allow_private=False) as caller, capture_logs() as logs:
                assert await caller.post(receiver.url(host), MESSAGE) == REFUSED, host
        assert receiver.connections == 1, host
        assert [line["event"] for line in logs] == ["egress.refused"], host


@pytest.mark.real_time
async def test_what_cannot_be_read_or_found_is_not_connected_to() -> None:
    for host in NEVER_PUBLIC_AND_NEVER_THERE:
        async with receiving(hosts=("127.0.0.1", "::1")) as receiver:
            with calling(allow_private=False) as caller, capture_logs() as logs:
                assert isinstance(await caller.post(receiver.url(host), MESSAGE), Forbidden), host
        assert receiver.connections == 0, host
        assert [line["event"] for line in logs] == ["egress.refused"], host


async def test_one_private_address_among_public_ones_spoils_a_name() -> None:
    async with receiving() as receiver:
        for addresses in permutations(["127.0.0.1", "8.8.8.8", "2606:4700:4700::1111"]):
            with calling(allow_private=False, resolve=Resolver(list(addresses))) as caller, capture_logs() as logs:
                assert await caller.post(receiver.url("hooks.example"), MESSAGE) == REFUSED, addresses
            assert logs[0]["addresses"] == ["127.0.0.1"]
    assert receiver.connections == 0


@pytest.mark.real_time
async def test_an_answer_that_changes_after_the_check_changes_nothing() -> None:
    # 3ffe::/16 was given back in 2006: public by all rules, and nobody is there.
    resolver = Resolver(["3ffe::1"], ["127.0.0.1"])
    async with receiving() as receiver:
        with calling(allow_private=False, resolve=resolver, timeout_s=1.0) as caller:
            found = await caller.post(receiver.url("rebinding.example"), MESSAGE)
    assert isinstance(found, Failed)
    assert found.reason in ("connection_failed", "timeout"), "it did try the checked address"
    assert resolver.asked == ["rebinding.example"]
    assert receiver.connections == 0


@pytest.mark.real_time
async def test_the_connection_goes_to_the_address_that_was_looked_up() -> None:
    resolver = Resolver(["127.0.0.1"], ["3ffe::1"])
    async with receiving() as receiver:
        with calling(resolve=resolver, timeout_s=1.0) as caller:
            assert await caller.post(receiver.url("rebinding.example"), MESSAGE) == Delivered(200, "thanks")
            assert isinstance(await caller.post(receiver.url("rebinding.example"), MESSAGE), Failed)
    assert resolver.asked == ["rebinding.example"] * 2
    assert receiver.connections == 1


async def test_no_unix_socket_is_ever_called() -> None:
    guard = EgressGuard(EgressPolicy(allow_private=True))
    with pytest.raises(EgressRefused):
        await guard.connect_unix_socket("/run/docker.sock")
    guard.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "user:hush@127.0.0.1"])
async def test_the_log_names_the_host_and_nothing_else_of_the_url(host: str) -> None:
    with calling(allow_private=False) as caller, capture_logs() as logs:
        await caller.post(f"http://{host}:9/services/hush?token=hush#hush", MESSAGE)
    assert len(logs) == 1
    assert "hush" not in repr(logs)


GOOD_URLS = [
    *("https://hooks.example/a?b=c", "http://hooks.example", "HTTPS://Hooks.Example:8443/", "http://8.8.8.8:1/"),
    *("http://[2606:4700::1]:65535/x", "http://my_container:8000/", "https://münchen.example/ä", "http://a.b.c./"),
    "http://localhost:8000/",
]


def test_urls_that_may_be_submitted() -> None:
    for url in GOOD_URLS:
        check_url(url, EgressPolicy())


BAD_URLS = [
    *(
        "",
        "hooks.example",
        "//hooks.example",
        "/path",
        "http://",
        "http:///path",
        "http:hooks.example",
        "https://:80/",
    ),
    *("ftp://hooks.example", "file:///etc/passwd", "gopher://a/", "unix:///run/x.sock", "javascript:alert(1)"),
    *("http://user@hooks.example", "http://user:pass@hooks.example/", "http://hooks.example\\@other.example/"),
    *("http://hooks.example:0/", "http://hooks.example:65536/", "http://hooks.example:-1/", "http://a:b/"),
    *("http://hooks example/", "http://hooks%2eexample/", "http://hooks\\.example/", "http://a..b/", "http://.a/"),
    *("http://hooks.example/\r\nX: y", "http://hooks.example/\x00", "http://a/\ud800", "http://a_\ud800.b/"),
    *("http://[::1", "http://[fe80::1%25eth0]/", "http://[v1.a]/", "http://256.1.1.1/", "http://" + "a" * 64 + "/"),
    *("http://" + "a." * 127 + "/", "http://hooks.example/" + "a" * 2048),
]


LITERALS = ["http://127.0.0.1:8000/", "http://10.1.2.3/", "http://[::1]/", "http://0x7f.1/", "http://2130706433/"]
LITERALS += ["http://127.0.0.1./", "http://10.1.2.3.:8000/"]


@pytest.mark.parametrize("url", LITERALS)
def test_a_literal_address_is_refused_where_it_may_not_be_called(url: str) -> None:
    with pytest.raises(InvalidRequest, match="its address is not public"):
        check_url(url, EgressPolicy())
    check_url(url, EgressPolicy(allow_private=True))


def test_an_allowed_network_is_allowed_and_no_other() -> None:
    policy = EgressPolicy(networks=(ip_network("10.1.0.0/16"), ip_network("fd00::/8")))
    addresses = ["10.1.255.1", "::ffff:10.1.0.1", "fd12::1", "8.8.8.8", "10.2.0.1", "127.0.0.1", "fc00::1"]
    allowed = [address for address in addresses if policy.allows(ip_address(address))]
    assert allowed == addresses[:4]
    check_url("http://10.1.2.3/hook", policy)
    with pytest.raises(InvalidRequest):
        check_url("http://10.2.2.3/hook", policy)


async def test_a_post_reaches_an_allowed_network() -> None:
    async with receiving() as receiver:
        for networks, answer in ((["127.0.0.0/8"], Delivered(200, "thanks")), (["10.0.0.0/8"], REFUSED)):
            with calling(allow_private=False, networks=networks) as sender:
                assert await sender.post(receiver.url(), MESSAGE) == answer


def test_urls_that_may_not_be_submitted() -> None:
    def refused(url: str) -> str | None:
        try:
            check_url(url, EgressPolicy())
        except InvalidRequest as error:
            return error.detail
        return None

    said = {url: refused(url) for url in BAD_URLS}
    assert [url for url, detail in said.items() if detail is None] == []
    assert [url for url, detail in said.items() if "hooks" in (detail or "")] == []
