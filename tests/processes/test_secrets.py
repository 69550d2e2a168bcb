"""One task of every kind at the most talkative level, and then a search for each secret in all that was told: by a
gateway with webhooks and traces, and by the demo."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.tempolor.callback_tokens import Tokens
from app.tempolor.kinds import FAMILIES, KINDS
from tests.processes.test_demo import LIMIT_S, children_of, read_until, started
from tests.processes.test_traces import _free_port, collecting
from tests.support.commands import VENDOR_KEY, environment, running
from tests.support.gateway import ADMIN_KEY, PARAMS, SECRET, eventually
from tests.support.notifications import BUSY, watching
from tests.support.receiver import OK
from tests.support.start_fixtures import StartSandbox

HOOK = "/hook?token=hook-token-0123456789abcdef"
PROMPT = "a prompt that is nobody else's business"
FINAL = {"succeeded", "part_failed", "failed", "expired", "canceled"}
LIBRARIES = ("sqlalchemy", "asyncpg", "httpx", "httpcore", "uvicorn.access", "urllib3")


@pytest.mark.parametrize("talkative", [False, True])
async def test_nothing_secret_is_told_of_a_task_of_every_kind(
    database_url: str, tmp_path: Path, start_sandbox: StartSandbox, talkative: bool
) -> None:
    """In the logs, the metrics and the traces. ``talkative``: with the account's and the vendor's faults on the way."""
    sandbox = await start_sandbox(scale=150, durations={"jitter": 0})
    if talkative:
        sandbox.add_rules(
            answers=[
                {"operation": "submit", "garbage": "html_502", "accept": True},
                {"operation": "query", "garbage": "truncated"},
                {"operation": "account", "http_status": 500},
            ],
            works=[{"drop": ["*"]}, {"double": ["*"]}],
        )
    port = await _free_port()
    async with watching(BUSY, OK) as receiver, collecting() as collector:
        env = environment(
            database_url,
            tempolor_base_url=sandbox.base_url,
            public_url=f"http://127.0.0.1:{port}",
            egress_allow_private="true",
            log_level="debug",
            query_first_after_s=1,
            query_interval_s=0.3,
            query_rate_per_s=20,
        )
        env |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_LOG_LEVEL": "debug",
        }
        async with running("serve", "--port", str(port), env=env, cwd=tmp_path) as served:
            made = (await served.api.post("/v1/clients", json={"name": "studio"})).json()
            own = {"Authorization": f"Bearer {made['api_key']}"}
            ids = []
            for kind in KINDS:
                params = {**PARAMS[kind], **({"prompt": PROMPT} if "prompt" in PARAMS[kind] else {})}
                body = {"kind": kind, "params": params, "webhook_url": receiver.url(path=HOOK)}
                ids.append((await served.api.post("/v1/tasks", json=body, headers=own)).json()["id"])

            async def ended() -> list[dict[str, Any]] | None:
                found = [(await served.api.get(f"/v1/tasks/{one}")).json() for one in ids]
                return found if {one["status"] for one in found} <= FINAL | {"unconfirmed"} else None

            tasks = await eventually(ended, timeout_s=60, every_s=0.2)
            tokens = [Tokens([SECRET]).sign(KINDS[task["kind"]].family.name, UUID(task["id"])) for task in tasks]
            await served.api.post(f"/callbacks/song/{tokens[0]}", content=b'{"songs": "private words"}')
            await served.api.post(f"/callbacks/song/{tokens[0]}x", json={})
            await served.api.post(f"/callbacks/song/{tokens[0]}/more?token={tokens[0]}", json={})
            await served.api.get(
                f"/v1/callbacks/song/{tokens[0]}", headers={"Authorization": "Bearer wrong-key-0123456"}
            )
            await served.api.get("/v1/account")
            stream = served.api.get(f"/v1/tasks/{ids[-1]}/stream", headers={**own, "Last-Event-ID": "0"}, timeout=2)
            await asyncio.gather(stream, return_exceptions=True)
            metrics = (await served.api.get("/metrics")).text
            await asyncio.gather(*(served.api.post(f"/v1/tasks/{one}/refresh", headers=own, timeout=15) for one in ids))
            assert await served.terminate() == 0
            lines = served.lines()
            told = served.log.read_text() + metrics + "".join(str(span) for span in collector.spans)
    signed = [
        one["url"] for task in tasks for item in task["items"] for one in item["artifacts"].values() if one["url"]
    ]
    signed = [url if isinstance(url, str) else json.dumps(url) for url in signed]
    lyrics = [item["lyrics"] for task in tasks for item in task["items"] if item["lyrics"]]
    assert len(signed) >= 5
    assert {line["level"] for line in lines} >= {"debug", "info"}
    assert collector.spans
    secrets = [VENDOR_KEY, ADMIN_KEY, SECRET, made["api_key"], made["webhook_secret"], *tokens, *signed]
    secrets += [made["webhook_secret"].removeprefix("whsec_"), "hook-token-0123456789abcdef", PROMPT]
    secrets += ["private words", "wrong-key-0123456", "auth_key=", *(text.splitlines()[0] for text in lyrics)]
    secrets += [one.rpartition("auth_key=")[2] for one in signed if "auth_key=" in one]
    assert [one for one in secrets if one in told or json.dumps(one)[1:-1] in told] == []
    assert [line for line in lines if line["logger"].startswith(LIBRARIES)] == []


def test_the_demo_at_its_most_talkative_level_tells_no_secret(tmp_path: Path) -> None:
    with started("app", "demo", "--log-level", "debug", scratch=tmp_path) as process:
        lines = read_until(process, "Submitting")
        # The keys are made for this run, and are nowhere but in the environment of the gateway.
        gateway = next(one for one in children_of(process) if "serve" in one.cmdline())
        names = ("TEMPOLOR_API_KEY", "CALLBACK_SECRETS", "BOOTSTRAP_ADMIN_KEY")
        secrets = [gateway.environ()[f"GATEWAY_{name}"] for name in names]
        rest, _ = process.communicate(timeout=LIMIT_S)
    told = "".join(lines) + rest
    assert process.returncode == 0, told
    task_ids = {UUID(found) for found in re.findall(r"task_id=([0-9a-f-]{36})", told)}
    assert len(task_ids) == len(KINDS)
    tokens = Tokens([secrets[1]])
    secrets += [tokens.sign(family, task_id) for family in FAMILIES for task_id in task_ids]
    secrets += ["auth_key=", "whsec_", "tpg_", "Bearer ", "harbour at night"]
    assert [one for one in secrets if one in told] == []
    for event in ("[debug", "task.accepted", "task.callback", "request "):
        assert event in told
