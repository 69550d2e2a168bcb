"""What is checked is what is used: values are trimmed, refused by name, or taken as they are."""

import gzip
from ipaddress import ip_address
from pathlib import Path

import pytest

from app.runtime.egress import is_loopback
from app.settings import BadSettings, database_settings
from app.settings.urls import web_address
from app.web.decoding import unpacked
from tests.rules.settings.conftest import VENDOR_KEY, Faults, Load
from tests.support.not_none import present

CANARY = "canary5f2b9c"
LONG = CANARY + "-0123456789abcdef0123456789abcdef"
AROUND = ("{}\n", "{} ", "\t{}", " {}", "\r\n{}\r\n", "\ufeff{}", "\u00a0{}\u2003", "\ufeff {} \ufeff\n")


@pytest.mark.parametrize("around", AROUND)
def test_white_space_around_a_value_is_none_of_it(load: Load, around: str) -> None:
    plain = {
        "GATEWAY_DATABASE_URL": "postgresql://u:p@db.example/gateway",
        "GATEWAY_PUBLIC_URL": "https://gw.example.com",
        "GATEWAY_CALLBACK_SECRETS": LONG,
        "GATEWAY_TEMPOLOR_API_KEY": VENDOR_KEY,
        "GATEWAY_TEMPOLOR_BASE_URL": "https://api.example.com",
        "GATEWAY_BOOTSTRAP_ADMIN_KEY": LONG,
        "GATEWAY_SUBMIT_MAX_IN_FLIGHT": "7",
        "GATEWAY_QUERY_FIRST_AFTER_S": "auto",
        "GATEWAY_DRAIN_S": "2.5",
        "GATEWAY_CALLBACK_ALLOW_CIDRS": "10.0.0.0/8",
        "GATEWAY_EGRESS_ALLOW_PRIVATE": "true",
        "GATEWAY_LOG_FORMAT": "console",
        "GATEWAY_LOG_LEVEL": "WARNING",
        "FORWARDED_ALLOW_IPS": "::1",
        "HTTPS_PROXY": "http://proxy.example:3128",
    }
    wanted = load(**plain)
    assert load(**{name: around.format(value) for name, value in plain.items()}) == wanted
    assert wanted.vendor_proxy == "http://proxy.example:3128"
    assert wanted.egress_allow_private
    assert present(wanted.bootstrap_admin_key).get_secret_value() == LONG


def test_members_of_a_list_are_trimmed_also_over_several_lines(load: Load) -> None:
    settings = load(
        GATEWAY_CALLBACK_SECRETS=f"{LONG},\n\ufeff {VENDOR_KEY}\t,\n",
        GATEWAY_CALLBACK_ALLOW_CIDRS="10.0.0.0/8,\n  192.168.1.7/16\n",
        FORWARDED_ALLOW_IPS=" 10.1.2.3 , ::1",
    )
    assert [one.get_secret_value() for one in settings.callback_secrets] == [LONG, VENDOR_KEY]
    assert settings.callback_allow_cidrs == ["10.0.0.0/8", "192.168.0.0/16"]
    assert settings.forwarded_allow_ips == ["10.1.2.3/32", "::1/128"]


def test_a_network_that_is_mapped_to_ipv6_is_that_of_ipv4(load: Load) -> None:
    """As logs of a server that listens on ``::`` show addresses; those that call are compared as IPv4."""
    mapped = "::ffff:203.0.113.7, ::ffff:10.0.0.0/104, 2001:db8::/32"
    settings = load(GATEWAY_CALLBACK_ALLOW_CIDRS=mapped, GATEWAY_EGRESS_ALLOW_CIDRS=mapped, FORWARDED_ALLOW_IPS=mapped)
    read = ["203.0.113.7/32", "10.0.0.0/8", "2001:db8::/32"]
    assert settings.callback_allow_cidrs == settings.egress_allow_cidrs == settings.forwarded_allow_ips == read
    assert settings.egress().allows(ip_address("10.1.2.3"))


def test_a_limit_that_is_meant_as_none_is_one_that_everything_can_count_to(load: Load) -> None:
    settings = load(GATEWAY_CALLBACK_MAX_BYTES=str(10**30), GATEWAY_SUBMIT_MAX_IN_FLIGHT=str(10**30))
    assert unpacked(gzip.compress(b"{}"), "gzip", settings.callback_max_bytes) == b"{}"
    assert settings.submit_max_in_flight == 2**53


@pytest.mark.parametrize("blank", ["", " ", "\n", "\ufeff\t"])
def test_a_blank_value_is_none(load: Load, faults: Faults, blank: str) -> None:
    assert load(GATEWAY_DRAIN_S=blank, GATEWAY_BOOTSTRAP_ADMIN_KEY=blank, GATEWAY_DATABASE_URL=blank) == load()
    assert faults(GATEWAY_PUBLIC_URL=blank, GATEWAY_CALLBACK_SECRETS=blank) == [
        "GATEWAY_PUBLIC_URL: it is required",
        "GATEWAY_CALLBACK_SECRETS: it is required",
    ]


@pytest.mark.parametrize("inside", ["\n", "\t", "\x1b", "\u200b", "\ufeff", "\u00a0", "\u2028", "\udcff"])
def test_what_is_not_printable_inside_a_value_is_refused(faults: Faults, inside: str) -> None:
    given = {
        "GATEWAY_DATABASE_URL": f"sqlite:///./{CANARY}{inside}.db",
        "GATEWAY_PUBLIC_URL": f"https://{CANARY}{inside}.example",
        "GATEWAY_CALLBACK_SECRETS": f"{LONG}{inside}{LONG}",
        "GATEWAY_TEMPOLOR_API_KEY": f"{LONG}{inside}{LONG}",
        "GATEWAY_TEMPOLOR_BASE_URL": f"https://{CANARY}.example/{inside}{CANARY}",
        "GATEWAY_BOOTSTRAP_ADMIN_KEY": f"{LONG}{inside}{LONG}",
        "GATEWAY_DRAIN_S": f"1{inside}0",
        "GATEWAY_CALLBACK_ALLOW_CIDRS": f"10.0.0.0/8,10.0{inside}.0.0/8",
    }
    found = faults(**given)
    assert [one.partition(":")[0] for one in found] == list(given)
    assert CANARY not in "".join(found)


@pytest.mark.parametrize("quotes", ['""', "''", "``", "“”", "‘’"])
def test_a_value_in_quotes_is_refused_by_name(faults: Faults, quotes: str) -> None:
    given = {
        "GATEWAY_DATABASE_URL": "sqlite:///./gateway.db",
        "GATEWAY_PUBLIC_URL": "https://gateway.example",
        "GATEWAY_CALLBACK_SECRETS": f"{LONG},{LONG}",
        "GATEWAY_TEMPOLOR_API_KEY": LONG,
        "GATEWAY_TEMPOLOR_BASE_URL": "https://gateway.example",
        "GATEWAY_BOOTSTRAP_ADMIN_KEY": LONG,
        "GATEWAY_SUBMIT_MAX_IN_FLIGHT": "10",
        "GATEWAY_CALLBACK_ALLOW_CIDRS": "10.0.0.0/8",
        "GATEWAY_EGRESS_ALLOW_PRIVATE": "true",
        "GATEWAY_LOG_LEVEL": "info",
        "FORWARDED_ALLOW_IPS": "10.0.0.0/8",
    }
    found = faults(**{name: quotes[0] + value + quotes[1] for name, value in given.items()})
    assert [one.partition(":")[0] for one in found] == list(given)
    assert all("quotes" in one for one in found)
    assert CANARY not in "".join(found)


def test_a_list_is_no_json(faults: Faults) -> None:
    given = {
        "GATEWAY_CALLBACK_SECRETS": f'["{LONG}","{LONG}"]',
        "GATEWAY_CALLBACK_ALLOW_CIDRS": '["10.0.0.0/8"]',
        "FORWARDED_ALLOW_IPS": "[127.0.0.1]",
    }
    found = faults(**given)
    assert [one.partition(":")[0] for one in found] == list(given)
    assert all("commas" in one for one in found)
    assert "quotes" in faults(GATEWAY_CALLBACK_SECRETS=f"{LONG},'{LONG}'")[0]
    assert CANARY not in "".join(found)


def test_quotes_brackets_and_blanks_inside_are_part_of_a_secret(load: Load) -> None:
    odd = '[a key] with "quotes", and $HOME ${HOME} %41 \\n' + "x" * 32
    assert load(GATEWAY_TEMPOLOR_API_KEY=odd).tempolor_api_key.get_secret_value() == odd


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("HTTPS://GW.Example.com", "https://gw.example.com"),
        ("https://gw.example.com/", "https://gw.example.com"),
        ("https://gw.example.com:8443/music//", "https://gw.example.com:8443/music"),
        ("https://gw.example.com?#", "https://gw.example.com"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("https://my_host.internal./a%20b", "https://my_host.internal./a%20b"),
        ("https://[2001:DB8::1]:443", "https://[2001:db8::1]:443"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
    ],
)
def test_a_web_address_is_used_as_it_was_read(load: Load, given: str, used: str) -> None:
    settings = load(GATEWAY_PUBLIC_URL=given, GATEWAY_TEMPOLOR_BASE_URL=given)
    assert (settings.public_url, settings.tempolor_base_url) == (used, used)


@pytest.mark.parametrize(
    "given",
    [
        "https://gw example.com",
        "https://gw.example.com /x",
        "https://gw.example.com/a b",
        "https://bücher.example",
        "https://gw.example.com/bücher",
        "https://gw。example",
        "https://gw..example",
        "https://-gw.example",
        "https://gw.example:0",
        "https://gw.example:99999",
        "https://gw.example:x",
        "https://300.1.1.1",
        "https://127.1",
        "https://[::1",
        "https://[::g]",
        "https://gw.example\\callbacks",
        'https://gw.example/"',
        "https://gw.example/%zz",
        "https://user:password@gw.example",
        "https://gw.example?key=1",
        "https://gw.example/#top",
        "https:/gw.example",
        "https://",
        "ftp://gw.example",
        "gw.example",
    ],
)
def test_what_is_no_web_address_is_refused(faults: Faults, given: str) -> None:
    found = faults(GATEWAY_PUBLIC_URL=given, GATEWAY_TEMPOLOR_BASE_URL=given)
    assert [one.partition(":")[0] for one in found] == ["GATEWAY_PUBLIC_URL", "GATEWAY_TEMPOLOR_BASE_URL"]
    assert "password" not in "".join(found).replace("no password", "")


@pytest.mark.parametrize("path", ["/open-apis", "/open-apis/v1", "/open-apis/v1/", "/music/open-apis/v1/song/generate"])
def test_the_vendors_url_ends_before_what_is_appended(faults: Faults, path: str) -> None:
    assert "/open-apis/v1, which" in faults(GATEWAY_TEMPOLOR_BASE_URL=f"https://api.tempolor.com{path}")[0]
    assert faults(GATEWAY_TEMPOLOR_BASE_URL="https://proxy.example/my-open-apis/") == []


@pytest.mark.parametrize("path", ["/callbacks", "/callbacks/", "/music/callbacks//"])
def test_a_public_url_ends_before_the_callbacks(faults: Faults, path: str) -> None:
    assert "/callbacks" in faults(GATEWAY_PUBLIC_URL=f"https://gw.example.com{path}")[0]
    assert faults(GATEWAY_PUBLIC_URL="https://gw.example.com/my-callbacks") == []


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("a.localhost.", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost.example", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
    ],
)
def test_which_host_is_this_machine(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
    assert is_loopback(present(web_address(f"http://{f'[{host}]' if ':' in host else host}/").hostname)) is expected


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite+aiosqlite:///g.db?timeout=30&mode=ro", "'timeout'"),
        ("sqlite:///g.db?cache=shared", "'cache'"),
        ("sqlite://", "path"),
        ("postgresql://u:p@h/d?connect_timeout=abc", "connect_timeout"),
        ("postgresql://u:p@h/d?connect_timeout=-1", "connect_timeout"),
        ("postgresql://u:p@h/d?connect_timeout=nan", "connect_timeout"),
        ("postgresql://u:p@h/d?port=abc", "port"),
        ("postgresql://u:p@h/d?port=70000", "port"),
        ("postgresql://u:p@h/d?port=0", "port"),
        ("postgresql://u:p@h:0x1/d", "database URL"),
        ("postgresql://u:p@h:70000/d", "port"),
        ("postgresql://u:p w@h/d", "blank"),
        ("mysql://u:p@h/d", "sqlite and postgresql"),
        ("gateway.db", "database URL"),
    ],
)
def test_a_database_url_is_refused_for_its_reason(faults: Faults, url: str, told: str) -> None:
    (found,) = faults(GATEWAY_DATABASE_URL=url)
    assert found.startswith("GATEWAY_DATABASE_URL: ")
    assert told in found


def test_the_database_alone_is_told_as_among_all_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEWAY_DATABASE_URL", "sqlite:///./gateway.db\n")
    assert database_settings().database_url.get_secret_value() == "sqlite:///./gateway.db"
    for value, told in (("postgresql://h/d?connect_timeout=abc", "connect_timeout"), ("'sqlite:///g.db'", "quotes")):
        monkeypatch.setenv("GATEWAY_DATABASE_URL", value)
        with pytest.raises(BadSettings, match=f"^GATEWAY_DATABASE_URL: .*{told}"):
            database_settings()


@pytest.mark.parametrize("scheme", ["POSTGRESQL", "Postgres", "postgresql+psycopg", "PostgreSQL+AsyncPG"])
def test_the_scheme_of_a_database_url_may_be_in_capitals(faults: Faults, scheme: str) -> None:
    assert faults(GATEWAY_DATABASE_URL=f"{scheme}://u:p@h/d?connect_timeout=0&port=5433") == []
    assert faults(GATEWAY_DATABASE_URL="SQLITE+aiosqlite:///./my folder/gateway.db") == []


def test_a_dotenv_file_is_taken_as_it_is(load: Load, tmp_path: Path) -> None:
    key = "aaaa${HOME}-$HOME-${NOT_SET:-x}-0123456789abcdef0123456789"
    text = f"\ufeffGATEWAY_BOOTSTRAP_ADMIN_KEY={key}\r\nexport GATEWAY_PUBLIC_URL='https://file.example'\n"
    (tmp_path / ".env").write_bytes(text.encode())
    settings = load(GATEWAY_PUBLIC_URL=None)
    assert present(settings.bootstrap_admin_key).get_secret_value() == key
    assert settings.public_url == "https://file.example"
    assert load(GATEWAY_PUBLIC_URL="https://env.example").public_url == "https://env.example"


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-32"])
def test_a_dotenv_file_that_is_not_utf_8_is_told(faults: Faults, tmp_path: Path, encoding: str) -> None:
    (tmp_path / ".env").write_bytes(f"# für {CANARY}\nGATEWAY_DRAIN_S=1\n".encode(encoding))
    (found,) = faults()
    assert found == f"{tmp_path / '.env'}: it must be text in UTF-8"
