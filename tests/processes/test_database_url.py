"""What the URL of a PostgreSQL may ask for: taken in the driver's words, or refused by name with no value shown."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from app.database.connect import parse_url
from app.database.postgres_url import Target, read_url
from app.errors import InvalidRequest
from tests.support.receiver import CERTIFICATE

CANARY = "canary5f2b9c"


def read(text: str) -> Target:
    return read_url(parse_url(text))


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("sslmode=bogus", "sslmode"),
        ("sslmode=REQUIRE", "sslmode"),
        ("ssl=true", "ssl"),
        (f"sslmode=verify-ca&sslrootcert=/{CANARY}", "sslrootcert"),
        (f"sslmode=verify-full&sslrootcert={__file__}", "sslrootcert"),
        (f"sslmode=require&sslcert={__file__}", "sslcert"),
        ("sslmode=require&sslrootcert=system", "sslrootcert"),
        ("channel_binding=require", "channel_binding"),
        ("sslmode=prefer&channel_binding=require", "channel_binding"),
        ("channel_binding=yes", "channel_binding"),
        ("ssl_min_protocol_version=SSLv3", "ssl_min_protocol_version"),
        ("gssencmode=require", "gssencmode"),
        ("target_session_attrs=standby", "target_session_attrs"),
        ("client_encoding=latin1", "client_encoding"),
        (f"port={CANARY}", "port"),
        ("port=0", "port"),
        ("port=5432,70000", "port"),
        (f"connect_timeout={CANARY}", "connect_timeout"),
        ("connect_timeout=-1", "connect_timeout"),
        ("connect_timeout=inf", "connect_timeout"),
        ("sslmode=require&sslmode=disable", "sslmode"),
        (f"keepalives_idle={CANARY}", "keepalives_idle"),
        (f"pgbouncer={CANARY}", "pgbouncer"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(query: str, named: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(f"postgresql://user:{CANARY}@db.example/gateway?{query}")
    assert named in refused.value.detail
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://user:p@{CANARY}@db.example/gateway",
        f"postgresql://user:p@{CANARY}/w#rd@db.example:5433/gateway",
        f"postgresql://user:p/w@{CANARY}:1/x@db.example/gateway",
        f"postgresql://user:p@s?{CANARY}@db.example/gateway",
        f"postgresql://{CANARY}@company.example:secret@db.example/gateway",
    ],
)
def test_a_password_with_an_at_is_not_read_as_a_host(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"written %40|has no value") as refused:
        read(text)
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize("password", ["p%40s%2Fw%23rd", "p:s", "p/w#r?d", "p=@"])
def test_a_password_that_can_be_told_apart_is_taken(password: str) -> None:
    arguments = read(f"postgresql://user:{password.replace('@', '%40')}@db.example/gateway").arguments
    assert (arguments["host"], arguments["database"]) == ("db.example", "gateway")
    assert arguments["password"] == unquote(password)
    assert read("postgresql://db.example/gateway?user=a@b&password=c@d").arguments["user"] == "a@b"


@pytest.mark.parametrize(
    "query", ["sslmode=", "sslmode", "application_name=x&sslmode=", "sslrootcert=&sslmode=require"]
)
def test_a_parameter_without_a_value_is_not_dropped_in_silence(query: str) -> None:
    for base in ("postgresql://user@db.example/gateway", "sqlite:///./gateway.db"):
        with pytest.raises(InvalidRequest, match="has no value"):
            parse_url(f"{base}?{query}")


@pytest.mark.parametrize(
    ("variable", "named"),
    [("PGPORT", "port=5433"), ("PGSSLMODE", "sslmode=disable"), ("PGTARGETSESSIONATTRS", "target_session_attrs=any")],
)
def test_what_the_environment_completes_is_checked_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, named: str
) -> None:
    monkeypatch.setenv(variable, CANARY)
    with pytest.raises(InvalidRequest, match=rf"^{variable} in the environment") as refused:
        read("postgresql://db.example/gateway")
    assert CANARY not in str(refused.value)
    # What the URL names is not taken from there.
    read(f"postgresql://db.example/gateway?{named}")
    monkeypatch.setenv(variable, "")
    read("postgresql://db.example/gateway")


def test_a_port_of_the_url_is_not_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", CANARY)
    assert read("postgresql://db.example:5433/gateway").arguments["port"] == 5433


def test_an_unknown_parameter_is_told_with_those_that_are_taken() -> None:
    with pytest.raises(InvalidRequest, match=r"'sslmodus'.*channel_binding.*connect_timeout.*sslmode.*sslrootcert"):
        read("postgresql://db.example/gateway?sslmodus=require")


def test_a_check_of_the_certificate_needs_to_know_whom_to_trust(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)
    url = "postgresql://db.example/gateway?sslmode=verify-full"
    with pytest.raises(InvalidRequest, match=r"verify-full needs sslrootcert"):
        read(url)
    assert "sslrootcert" in read(f"{url}&sslrootcert=system").arguments["dsn"]
    # Where libpq and the driver look for it by themselves.
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql" / "root.crt").write_bytes(CERTIFICATE.read_bytes())
    assert read(url).arguments["dsn"] == "postgresql://?sslmode=verify-full"


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        (
            "postgresql://u:p@db.example:6543/gw",
            "postgresql://u@db.example:6543/gw",
            {"host": "db.example", "port": 6543},
        ),
        ("postgres://u@%2Frun%2Fpostgresql/gw", "postgresql://u@/run/postgresql:5432/gw", {"host": "/run/postgresql"}),
        (
            "postgresql://u@/gw?host=/run/pg&port=5433",
            "postgresql://u@/run/pg:5433/gw",
            {"host": "/run/pg", "port": 5433},
        ),
        ("postgresql://u@[::1]/gw", "postgresql://u@[::1]:5432/gw", {"host": "::1"}),
        (
            "postgresql://u@/gw?host=a,b&port=1,2&target_session_attrs=primary",
            "postgresql://u@a:1,b:2/gw",
            {"host": ["a", "b"], "port": [1, 2], "target_session_attrs": "primary"},
        ),
        ("postgresql://u@/gw?host=a&host=b", "postgresql://u@a:5432,b:5432/gw", {"host": ["a", "b"]}),
        ("postgresql://?dbname=gw&user=u&password=p", "postgresql://u@/gw", {"user": "u", "password": "p"}),
        ("postgresql://h/gw?connect_timeout=0", "postgresql://h:5432/gw", {"timeout": None}),
        ("postgresql://h/gw?connect_timeout=2.5", "postgresql://h:5432/gw", {"timeout": 2.5}),
        (
            "postgresql://h/gw?options=-c%20geqo%3Doff&application_name=mine",
            "postgresql://h:5432/gw",
            {"server_settings": {"options": "-c geqo=off", "application_name": "mine"}},
        ),
        # As Neon gives it out.
        (
            "postgresql://u:p@h/gw?sslmode=require&channel_binding=require",
            "postgresql://u@h:5432/gw",
            {"dsn": "postgresql://?sslmode=require"},
        ),
        (
            f"postgresql+psycopg://h/gw?sslmode=verify-ca&sslrootcert={CERTIFICATE}&sslcert={CERTIFICATE}",
            "postgresql://h:5432/gw",
            {},
        ),
    ],
)
def test_what_can_be_kept_is_taken(text: str, place: str, expected: dict[str, Any]) -> None:
    target = read(text)
    assert target.place == place
    assert {name: target.arguments[name] for name in expected} == expected
