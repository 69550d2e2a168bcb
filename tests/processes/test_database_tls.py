"""PostgreSQL over TLS: what its URL asks for is kept, and where it cannot be, the reason is the true one."""

import asyncio
import contextlib
import ssl
import struct
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.database.connect import open_database
from app.database.faults import why_away
from app.errors import Unavailable
from tests.support.commands import environment, run
from tests.support.postgres import PostgresServer
from tests.support.receiver import CERTIFICATE as ANOTHERS

CERTIFICATE = Path(__file__).with_name("database.pem")
"""For 127.0.0.1, signed by itself, with its key."""
TRUSTED = f"sslrootcert={CERTIFICATE}"


@dataclass
class Front:
    """What stands before a PostgreSQL and speaks TLS for it. ``encrypted``: for each connection that logged in, in
    order, whether it is."""

    port: int
    encrypted: list[bool] = field(default_factory=list)


@asynccontextmanager
async def speaking_tls(server: PostgresServer) -> AsyncIterator[Front]:
    """PostgreSQL's own way to TLS: the client asks in the clear, and only then shakes hands."""
    encryptions: list[bool] = []
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(CERTIFICATE)
    asks_for_tls = struct.pack("!ii", 8, 80877103)

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                target.write(data)
        target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            first, encrypted = await reader.readexactly(8), False
            if first == asks_for_tls:
                writer.write(b"S")
                await writer.start_tls(tls)
                first, encrypted = await reader.readexactly(8), True
            encryptions.append(encrypted)
            behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", server.port)
            behind_writer.write(first)
            await asyncio.gather(pump(reader, behind_writer), pump(behind_reader, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield Front(listening.sockets[0].getsockname()[1], encryptions)


@pytest.fixture
async def front(postgres: PostgresServer) -> AsyncIterator[Front]:
    async with speaking_tls(postgres) as found:
        yield found


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """The name of a migrated database."""
    name = f"tls_{uuid.uuid4().hex}"
    postgres.create_database(name, template="template")
    yield name
    postgres.drop_database(name)


async def _ask(url: str) -> int:
    """Raises as the gateway would."""
    db = open_database(url)
    try:
        return await db.read(lambda conn: conn.exec_driver_sql("SELECT 1").scalar_one())
    finally:
        await db.close()


@pytest.mark.parametrize(
    ("query", "encrypted"),
    [
        ("sslmode=disable", False),
        ("sslmode=prefer", True),
        ("", True),
        ("sslmode=require", True),
        ("sslmode=require&channel_binding=require", True),
        (f"sslmode=require&{TRUSTED}", True),
        (f"sslmode=verify-ca&{TRUSTED}", True),
        (f"sslmode=verify-full&{TRUSTED}&ssl_min_protocol_version=TLSv1.3", True),
        (f"sslmode=verify-full&{TRUSTED}&options=-c%20geqo%3Doff&target_session_attrs=primary", True),
    ],
)
async def test_what_the_url_asks_for_is_kept(front: Front, query: str, encrypted: bool) -> None:
    assert await _ask(f"postgresql://postgres@127.0.0.1:{front.port}/template?{query}") == 1
    assert set(front.encrypted) == {encrypted}


@pytest.mark.parametrize(
    ("query", "host", "reason"),
    [
        (f"sslmode=verify-full&{TRUSTED}", "localhost", "its certificate is for another host"),
        ("sslmode=verify-full&sslrootcert=system", "127.0.0.1", "its certificate is not trusted"),
        (f"sslmode=verify-ca&sslrootcert={ANOTHERS}", "127.0.0.1", "its certificate is not trusted"),
        (f"sslmode=require&sslrootcert={ANOTHERS}", "127.0.0.1", "its certificate is not trusted"),
    ],
)
async def test_why_tls_does_not_come_about_is_told(front: Front, query: str, host: str, reason: str) -> None:
    with pytest.raises(Unavailable, match=reason) as refused:
        await _ask(f"postgresql://postgres@{host}:{front.port}/template?{query}")
    assert front.encrypted == []
    # Which database it was is for who runs the gateway.
    assert str(front.port) not in refused.value.detail
    assert f"@{host}:{front.port}/template" in str(refused.value)


@pytest.mark.parametrize(("code", "reason"), [(62, "for another host"), (64, "for another host"), (20, "not trusted")])
def test_a_host_that_is_named_by_its_address_is_another_host_too(code: int, reason: str) -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    assert why_away(error) == f"its certificate is {reason}"


async def test_a_handshake_that_fails_is_told_as_one(front: Front) -> None:
    with pytest.raises(Unavailable, match="TLS with it failed"):
        await _ask(
            f"postgresql://postgres@127.0.0.1:{front.port}/template?sslmode=require"
            "&ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2"
        )


async def test_a_server_without_tls_is_not_spoken_to_in_the_clear(postgres: PostgresServer) -> None:
    with pytest.raises(Unavailable, match="it does not speak TLS, which its URL asks for"):
        await _ask(f"{postgres.url()}?sslmode=require")


async def test_migrations_and_commands_go_over_tls_as_well(front: Front, database: str, tmp_path: Path) -> None:
    url = f"postgresql://postgres@127.0.0.1:{front.port}/{database}?sslmode=verify-full&{TRUSTED}"
    for command in (["migrate"], ["clients", "list"]):
        ended = await run(*command, env=environment(url), cwd=tmp_path)
        assert ended.code == 0, ended.err
    assert set(front.encrypted) == {True}
    refused = await run("migrate", env=environment(url.replace("127.0.0.1", "localhost", 1)), cwd=tmp_path)
    assert refused.code != 0
    assert "Traceback" not in refused.err
    assert "its certificate is for another host" in refused.err
    assert f"@localhost:{front.port}/" in refused.err
