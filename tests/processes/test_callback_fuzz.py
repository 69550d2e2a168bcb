"""Whatever is posted to the callbacks of a real process: answered, soon, and never by a fault of ours."""

import asyncio
import socket
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.tempolor.callback_tokens import Tokens
from app.tempolor.kinds import FAMILIES
from tests.support.commands import Running, environment, running
from tests.support.fuzzed_bodies import bodies, heads
from tests.support.gateway import PARAMS, SECRET

ANSWER_S = 10.0
AMOUNTS = [40, pytest.param(1500, marks=pytest.mark.slow)]
"""Examples: few every day, many in the heavy suite."""


def _settings(examples: int) -> settings:
    unhurried = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(max_examples=examples, deadline=None, suppress_health_check=unhurried, database=None)


async def _paths(served: Running) -> list[str]:
    """A callback path for each family: of a task of its own, and of nobody."""
    tokens, paths = Tokens([SECRET]), []
    kinds = {"song": "song.generate", "instrumental": "instrumental.generate", "lyrics": "lyrics.generate"}
    kinds |= {"stems": "stems.create", "midi": "midi.create"}
    assert kinds.keys() == FAMILIES.keys()
    for family, kind in kinds.items():
        made = await served.api.post("/v1/tasks", json={"kind": kind, "params": PARAMS[kind]})
        paths += [f"/callbacks/{family}/{tokens.sign(family, task)}" for task in (UUID(made.json()["id"]), None)]
    return paths


async def _assert_well(served: Running) -> None:
    """Nothing failed, and everything that was kept can be read."""
    assert (await served.api.get("/readyz")).status_code == 200
    for path in ("/v1/tasks", "/v1/callbacks"):
        cursor: str | None = ""
        while cursor is not None:
            answer = await served.api.get(path, params={"limit": 200} | ({"cursor": cursor} if cursor else {}))
            assert answer.status_code == 200, answer.text
            cursor = answer.json()["next_cursor"]
            if path == "/v1/tasks":
                for task in answer.json()["data"][:50]:
                    assert (await served.api.get(f"/v1/tasks/{task['id']}/timeline")).status_code == 200
    # The test's own database runs without fsync, which is told as an error.
    told = [line for line in served.lines() if line["event"] != "database.unsafe"]
    assert [line for line in told if line["level"] in ("error", "critical")] == []


@pytest.mark.parametrize("examples", AMOUNTS)
async def test_any_body_is_answered(tmp_path: Path, database_url: str, examples: int) -> None:
    env = environment(database_url)
    async with running("serve", "--workers-off", env=env, cwd=tmp_path) as served:
        paths = await _paths(served)
        seen: set[int] = set()

        def post_all(url: str) -> None:
            with httpx.Client(base_url=url, timeout=ANSWER_S, trust_env=False) as http:

                @_settings(examples)
                @given(bodies, st.sampled_from(paths), st.booleans())
                def post(body: bytes, path: str, chunked: bool) -> None:
                    answer = http.post(path, content=iter([body[:7], body[7:]]) if chunked else body)
                    assert answer.status_code in (200, 400, 403), answer.text
                    assert (answer.status_code == 200) is (answer.text == "success")
                    seen.add(answer.status_code)

                post()

        await asyncio.to_thread(post_all, served.url)
        assert {200, 400} <= seen
        await _assert_well(served)


@pytest.mark.parametrize("examples", AMOUNTS)
async def test_any_bytes_are_answered_or_the_connection_ends(tmp_path: Path, database_url: str, examples: int) -> None:
    env = environment(database_url)
    async with running("serve", "--workers-off", env=env, cwd=tmp_path) as served:
        paths = [path.encode() for path in await _paths(served)]
        place = urlsplit(served.url)
        seen: set[bytes] = set()

        @_settings(examples)
        @given(st.lists(heads, min_size=1, max_size=2), st.sampled_from(paths), st.integers(1, 40))
        def send(requests: list[bytes], path: bytes, part: int) -> None:
            raw = b"".join(requests).replace(b"TARGET", path)
            with socket.create_connection((place.hostname, place.port), timeout=ANSWER_S) as line:
                heard, silent = b"", False
                try:
                    line.sendall(raw[:part])
                    line.sendall(raw[part:])
                    line.shutdown(socket.SHUT_WR)
                    while data := line.recv(65536):
                        heard += data
                except OSError as error:
                    # Closed on us is an end as well; silence is not.
                    silent = isinstance(error, TimeoutError)
            assert not silent
            if heard:
                assert heard.startswith(b"HTTP/1.1 "), heard
                status = heard[9:12]
                # 501 is the answer to CONNECT, 505 to another version of HTTP.
                assert status in (b"100", b"501", b"503", b"505") or b"200" <= status < b"500", heard
                seen.add(status)

        await asyncio.to_thread(send)
        assert b"400" in seen
        await _assert_well(served)
