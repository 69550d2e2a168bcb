"""The proxy for calls to the vendor, by the variables that all programs share; nothing else asks one."""

from pathlib import Path

import pytest

from app.wiring import default_tls_context, tls_context
from tests.rules.settings.conftest import Faults, Load

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({"HTTPS_PROXY": PROXY}, PROXY),
        ({"https_proxy": PROXY}, PROXY),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other.example:1"}, PROXY),
        ({"https_proxy": "", "HTTPS_PROXY": PROXY}, None),
        ({"ALL_PROXY": PROXY}, PROXY),
        ({"all_proxy": PROXY}, PROXY),
        ({"https_proxy": "", "ALL_PROXY": PROXY}, PROXY),
        ({"HTTPS_PROXY": PROXY, "ALL_PROXY": "socks5://127.0.0.1:7890"}, PROXY),
        ({"HTTP_PROXY": PROXY}, None),
        ({"HTTP_PROXY": "http://proxy:port"}, None),
        ({"HTTP_PROXY": PROXY, "GATEWAY_TEMPOLOR_BASE_URL": "http://vendor.example"}, PROXY),
        ({"HTTPS_PROXY": PROXY, "GATEWAY_TEMPOLOR_BASE_URL": "http://vendor.example"}, None),
        ({"HTTPS_PROXY": "proxy.example:3128"}, PROXY),
        ({"HTTPS_PROXY": "HTTP://Proxy.example:3128/"}, PROXY),
        ({"HTTPS_PROXY": "https://u%40x:p%2Fw@proxy.example"}, "https://u%40x:p%2Fw@proxy.example"),
        ({"HTTPS_PROXY": "http://[fd00::1]:3128"}, "http://[fd00::1]:3128"),
        ({}, None),
    ],
)
def test_which_proxy_the_vendor_is_called_through(load: Load, given: dict[str, str], used: str | None) -> None:
    assert load(**given).vendor_proxy == used


@pytest.mark.parametrize("proxy", [PROXY, "socks5://127.0.0.1:7890", '"http://p:1"', "http://proxy:port"])
def test_this_machine_is_never_asked_through_a_proxy(load: Load, proxy: str) -> None:
    given = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"), proxy)
    for host in ("127.0.0.1:9000", "localhost", "a.localhost:1", "[::1]:9000", "127.8.8.8", "LOCALHOST."):
        for scheme in ("http", "https"):
            url = f"{scheme}://{host}"
            assert load(GATEWAY_TEMPOLOR_BASE_URL=url, **given).vendor_proxy is None, url


@pytest.mark.parametrize(
    ("no_proxy", "vendor", "excepted"),
    [
        ("*", "https://api.example.com", True),
        ("localhost, *", "https://api.example.com", True),
        ("localhost,fd07:b51a:cc66:f0::/64", "https://api.example.com", False),
        ("localhost,fd07:b51a:cc66:f0::/64", "https://[fd07:b51a:cc66:f0::2]", True),
        ("[::1]", "https://api.example.com", False),
        ("[fd00::5]", "https://[fd00::5]:8443", True),
        ("fd00::5", "https://[fd00::5]:8443", True),
        ("[fd00::5]:8443", "https://[fd00::5]:8443", True),
        ("[fd00::5]:443", "https://[fd00::5]:8443", False),
        ("[fd00::]/8", "https://[fd00::5]", True),
        ("10.0.0.0/8", "https://10.1.2.3", True),
        ("10.0.0.0/8", "https://11.1.2.3", False),
        ("10.1.2.3", "https://10.1.2.3", True),
        ("10.1.2.3:444", "https://10.1.2.3", False),
        ("10.0.0.0/8", "https://[::ffff:10.1.2.3]", True),
        ("::ffff:10.0.0.0/104", "https://10.1.2.3", True),
        ("::ffff:10.0.0.0/104", "https://11.1.2.3", False),
        ("example.com", "https://api.example.com", True),
        (".example.com", "https://api.example.com", True),
        ("*.example.com", "https://api.example.com", True),
        ("EXAMPLE.com.", "https://api.example.com.", True),
        ("api.example.com", "https://api.example.com", True),
        ("xample.com", "https://api.example.com", False),
        ("com.example", "https://api.example.com", False),
        ("api.example.com:443", "https://api.example.com", True),
        ("api.example.com:80", "https://api.example.com", False),
        ("a.example b.example\n api.example.com", "https://api.example.com", True),
        ("127.0.0.1, 192.168.*, <local>, :, [], ., /8", "https://api.example.com", False),
    ],
)
def test_whom_no_proxy_excepts(load: Load, no_proxy: str, vendor: str, excepted: bool) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        settings = load(HTTPS_PROXY=PROXY, GATEWAY_TEMPOLOR_BASE_URL=vendor, **{name: no_proxy})
        assert (settings.vendor_proxy is None) is excepted


@pytest.mark.parametrize(
    "value",
    [
        "socks5://canary:canary@127.0.0.1:7890",
        "socks://127.0.0.1:7890",
        "ftp://canary.example",
        "http://canary:port",
        "http://canary:0",
        '"http://canary:1"',
        "'canary:1'",
        "http://can ary:1",
        "http://canary.example\tx:1",
        "http://user:canary#x@proxy.example:3128",
        "http://user:1/canary@proxy.example:3128",
        "http://user:can^ary@proxy.example",
        "http://",
        "://",
    ],
)
def test_a_proxy_that_cannot_be_used_is_one_message(faults: Faults, value: str) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        (found,) = faults(**{name: value})
        assert found.startswith(f"{name}: ")
        assert "canary" not in found
        assert faults(**{name: value, "NO_PROXY": "api.tempolor.com"}) == [], name


def test_all_faults_are_told_at_once_with_those_of_the_proxy(faults: Faults) -> None:
    found = faults(GATEWAY_PUBLIC_URL="nonsense", HTTPS_PROXY="socks5://p:1", ALL_PROXY="ftp://x", NO_PROXY="localhost")
    assert [one.partition(":")[0] for one in found] == ["GATEWAY_PUBLIC_URL", "HTTPS_PROXY"]
    assert [one.partition(":")[0] for one in faults(NO_PROXY='"localhost"', HTTPS_PROXY="x")] == ["NO_PROXY"]


def test_the_proxy_is_a_secret(load: Load) -> None:
    settings = load(HTTPS_PROXY="http://user:canary@proxy.example:3128")
    assert settings.vendor_proxy == "http://user:canary@proxy.example:3128"
    assert "canary" not in repr(settings) + settings.model_dump_json()


def test_authorities_that_cannot_be_read_are_one_message(load: Load, faults: Faults, tmp_path: Path) -> None:
    empty, garbage, folder = tmp_path / "empty.pem", tmp_path / "garbage.pem", tmp_path / "folder"
    empty.touch()
    garbage.write_bytes(b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    folder.mkdir()
    for path in ("/none", empty, garbage, folder, f'"{empty}"'):
        (found,) = faults(SSL_CERT_FILE=str(path))
        assert found.startswith("SSL_CERT_FILE: ")
    for path in ("/none", empty, folder, f"/none:{folder}", f"'{folder}'"):
        (found,) = faults(SSL_CERT_DIR=str(path))
        assert found.startswith("SSL_CERT_DIR: ")
    (folder / "0a1b2c3d.0").touch()
    assert load(SSL_CERT_DIR=str(folder)).ssl_cert_dir == str(folder)
    assert load(SSL_CERT_FILE="", SSL_CERT_DIR="") == load()


def test_who_is_trusted_is_what_the_file_says_and_no_variable_read_later(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path(__file__).parents[2] / "support" / "receiver.pem"
    assert tls_context(load(SSL_CERT_FILE=f"{own}\n")).cert_store_stats()["x509"] == 1
    monkeypatch.setenv("SSL_CERT_FILE", "/none")
    default_tls_context.cache_clear()
    assert tls_context(load()).cert_store_stats()["x509"] > 50
