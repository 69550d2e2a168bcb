"""A process that cannot work says why and does not start; whoever can, starts."""

import asyncio
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.main import listen
from tests.support.commands import environment, run, running
from tests.support.databases import on_sqlite
from tests.support.gateway import ADMIN_KEY, SECRET, eventually
from tests.support.postgres import PostgresServer

CANARY = "canary5f2b9c"


@pytest.fixture
def empty_postgres(postgres: PostgresServer) -> Iterator[str]:
    """A PostgreSQL database without any table."""
    name = f"empty_{uuid.uuid4().hex}"
    yield postgres.create_database(name)
    postgres.drop_database(name)


async def test_every_fault_of_the_settings_is_named_at_once_and_no_value_shown(tmp_path: Path) -> None:
    faults = {
        "database_url": f"mysql://user:{CANARY}@db.example/gateway",
        "public_url": f"http://{CANARY}.example",
        "callback_secrets": f"{SECRET},{CANARY}",
        "tempolor_api_key": None,
        "bootstrap_admin_key": CANARY,
        "tempolor_base_url": f"ftp://{CANARY}",
        "submit_max_in_flight": 0,
        "submit_timeout_s": "0",
        "query_rate_per_s": "-1",
        "query_first_after_s": CANARY,
        "query_interval_s": "nan",
        "task_deadline_s": "inf",
        "drain_s": CANARY,
        "callback_max_bytes": "1.5",
        "callback_allow_cidrs": f"10.0.0.0/8,{CANARY}",
        "egress_allow_private": CANARY,
        "retention_days": "-1",
        "log_format": "xml",
        "log_level": "loud",
    }
    ended = await run("serve", env=environment(None, **faults), cwd=tmp_path)
    assert ended.code != 0
    assert [name for name in faults if f"GATEWAY_{name.upper()}" not in ended.text] == []
    assert CANARY not in ended.text
    assert SECRET not in ended.text
    assert "Traceback" not in ended.text
    assert list(tmp_path.iterdir()) == []


async def test_what_is_required_is_named(tmp_path: Path) -> None:
    needed = ("public_url", "callback_secrets", "tempolor_api_key")
    ended = await run("serve", env=environment(None, **dict.fromkeys(needed)), cwd=tmp_path)
    assert ended.code != 0
    assert all(f"GATEWAY_{name.upper()}" in ended.text for name in needed)
    assert "GATEWAY_DATABASE_URL" not in ended.text


async def test_a_dotenv_file_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GATEWAY_PUBLIC_URL=https://gateway.example/base/\n")
    ended = await run("callback-url", "stems", env=environment(None, public_url=None), cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert ended.out.startswith("https://gateway.example/base/callbacks/stems/")


async def test_unusual_settings_are_fine(tmp_path: Path) -> None:
    settings = {
        "callback_secrets": f" {SECRET} ,{'ключ' * 10},",
        "tempolor_api_key": 'a key with spaces, #; "quotes" and $HOME' + "x" * 20,
        "drain_s": "1e9",
        "query_first_after_s": "0.001",
        "query_interval_s": "500",
        "query_max_interval_s": "1",
        "task_deadline_s": "99999999999",
        "retention_days": "0",
        "callback_allow_cidrs": "10.1.2.3/8, ::/0",
        "log_level": "WARNING",
    }
    ended = await run("callback-url", "song", env=environment(None, **settings), cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert (await run("callback-url", "nonsense", env=environment(None), cwd=tmp_path)).code != 0


async def test_postgresql_off_head_is_refused_until_it_is_migrated_by_many_at_once(
    tmp_path: Path, empty_postgres: str
) -> None:
    env = environment(empty_postgres)
    for command in (["serve", "--port", "0"], ["clients", "list"]):
        ended = await run(*command, env=env, cwd=tmp_path)
        assert ended.code != 0
        assert "migrate" in ended.err
        assert "Traceback" not in ended.err
    migrations = await asyncio.gather(*(run("migrate", env=env, cwd=tmp_path) for _ in range(4)))
    assert [(one.code, "Traceback" in one.err) for one in migrations] == [(0, False)] * 4
    async with running("serve", env=env, cwd=tmp_path) as served:
        assert (await served.api.get("/readyz")).status_code == 200
        assert (await served.api.get("/v1/tasks")).status_code == 200


async def test_sqlite_migrates_itself_and_takes_one_server(tmp_path: Path) -> None:
    env = environment(None)
    async with running("serve", env=env, cwd=tmp_path) as served:
        assert (tmp_path / "gateway.db").exists()
        assert (await served.api.get("/readyz")).status_code == 200
        for command in (["worker"], ["serve", "--port", "0", "--workers-off"]):
            ended = await run(*command, env=env, cwd=tmp_path)
            assert ended.code != 0
            assert "gateway.db" in ended.err
            assert "Traceback" not in ended.err
        # The refused ones have not harmed the first, nor taken its lock with them.
        assert (await served.api.get("/v1/tasks")).status_code == 200
        assert (await run("serve", "--port", "0", env=env, cwd=tmp_path)).code != 0
        await served.kill()
    async with running("serve", env=env, cwd=tmp_path) as served:
        assert (await served.api.get("/readyz")).status_code == 200


async def test_a_port_in_use_and_a_database_that_is_away_are_told_clearly(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    async with running("serve", env=environment(None), cwd=tmp_path) as served:
        port = served.url.rpartition(":")[2]
        other = environment(f"sqlite:///{tmp_path}/other.db")
        ended = await run("serve", "--host", "127.0.0.1", "--port", port, env=other, cwd=tmp_path)
        assert ended.code != 0
        assert "Traceback" not in ended.err
    urls = (f"postgresql://u:{CANARY}@127.0.0.1:9/x", postgres.url("nowhere"), "sqlite:////no/such/dir/x.db")
    all_ended = [await run("serve", "--port", "0", env=environment(url), cwd=tmp_path) for url in urls]
    told = {
        url: (one.code != 0, bool(one.err.strip()), "Traceback" in one.err)
        for url, one in zip(urls, all_ended, strict=True)
    }
    assert told == dict.fromkeys(urls, (True, True, False))
    assert CANARY not in "".join(one.text for one in all_ended)


@on_sqlite
async def test_the_variables_of_proxies_are_read_or_told_by_every_command(tmp_path: Path, database_url: str) -> None:
    env = environment(database_url, tempolor_base_url="https://vendor.invalid")
    read = env | {"https_proxy": "127.0.0.1:9", "NO_PROXY": "localhost,[::1],fd07:b51a:cc66:f0::/64"}
    ended = await run("submissions", "show", env=read, cwd=tmp_path)
    assert ended.code == 0, ended.err
    wrong = env | {"ALL_PROXY": f"socks5://{CANARY}:1", "SSL_CERT_FILE": "/none"}
    for command in (["submissions", "show"], ["serve", "--port", "0"], ["worker"]):
        ended = await run(*command, env=wrong, cwd=tmp_path)
        assert (ended.code, "Traceback" in ended.text, CANARY in ended.text) == (1, False, False)
        assert "ALL_PROXY: " in ended.err
        assert "SSL_CERT_FILE: " in ended.err


def test_the_unspecified_address_of_ipv6_takes_ipv4_as_well() -> None:
    with listen("::", 0) as listener:
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, listener.getsockname()[1]), timeout=5):
                pass


@on_sqlite
async def test_clients_are_made_beside_a_running_server(tmp_path: Path, database_url: str) -> None:
    env = environment(database_url)
    async with running("serve", env=env, cwd=tmp_path) as served:
        made = await run("clients", "create", "studio", env=env, cwd=tmp_path)
        assert made.code == 0, made.err
        key = next(word.strip('",') for word in made.out.split() if "tpg_" in word)
        assert "whsec_" in made.out
        headers = {"Authorization": f"Bearer {key}"}
        assert (await served.api.get("/v1/tasks", headers=headers)).status_code == 200
        assert (await served.api.get("/v1/clients", headers=headers)).status_code == 403
        listed = await run("clients", "list", env=env, cwd=tmp_path)
        assert [line.split("\t")[0] for line in listed.out.splitlines()] == ["bootstrap", "studio"]
        assert key not in listed.text
        assert (await run("clients", "revoke", "studio", env=env, cwd=tmp_path)).code == 0
        assert (await served.api.get("/v1/tasks", headers=headers)).status_code == 401
        again = await run("clients", "create", "studio", env=env, cwd=tmp_path)
        assert (again.code != 0, "Traceback" in again.err) == (True, False)
        assert (await served.api.get("/readyz")).status_code == 200
        log = served.log.read_text()
        assert key not in log
        assert ADMIN_KEY not in log


@pytest.mark.slow
async def test_postgresql_through_its_socket(tmp_path: Path, postgres: PostgresServer) -> None:
    name = f"socket_{uuid.uuid4().hex}"
    postgres.create_database(name, template="template")
    for url in (postgres.socket_url(name), postgres.url(name).replace("postgresql", "postgresql+psycopg", 1)):
        async with running("serve", env=environment(url), cwd=tmp_path) as served:
            async with httpx.AsyncClient(trust_env=False) as plain:
                assert (await plain.get(f"{served.url}/readyz")).status_code == 200
            assert await served.terminate() == 0
    postgres.drop_database(name)


@on_sqlite
async def test_a_public_url_that_leads_nowhere_is_told_and_holds_nothing_up(tmp_path: Path, database_url: str) -> None:
    # Asked through a proxy that is not there, so that no name is looked up.
    env = environment(database_url, public_url="https://music.invalid") | {"HTTPS_PROXY": "http://127.0.0.1:9"}
    env |= {"GATEWAY_TEMPOLOR_BASE_URL": "https://vendor.invalid"}
    async with running("serve", "--workers-off", env=env, cwd=tmp_path) as served:

        async def warned() -> bool:
            answer = await served.api.get("/readyz")
            assert answer.status_code == 200
            return [one["code"] for one in answer.json()["warnings"]] == ["callbacks_unreachable"]

        await eventually(warned)
        [line] = [one for one in served.lines() if one["event"] == "callbacks.unreachable"]
        assert (line["level"], line["public_url"]) == ("warning", "https://music.invalid")
        assert "gateway_callbacks_unreachable 1.0" in (await served.api.get("/metrics")).text
