"""The client stands alone: it is imported without the server, and both of its forms are one."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import tempolor_gateway_client
from tempolor_gateway_client import AsyncGatewayClient, GatewayClient

ROOT = Path(__file__).parents[3]
BLOCKED = """
import sys



class Blocker:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top == "app" or top in BLOCKED:
            raise ImportError("blocked: " + name)


BLOCKED = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Blocker())
import tempolor_gateway_client

missing = [name for name in tempolor_gateway_client.__all__ if not hasattr(tempolor_gateway_client, name)]
assert not missing, missing
assert "standardwebhooks" not in sys.modules
assert "asyncio" in sys.modules
try:
    import fastapi
except ImportError as error:
    assert str(error) == "blocked: fastapi"
else:
    raise AssertionError("the blocker does not block")
secret, body = "whsec_" + "A" * 43 + "=", b"{}"
try:
    tempolor_gateway_client.verify_notification(body, {}, secret)
except tempolor_gateway_client.BadSignature:
    print("alone")
"""


def test_it_is_imported_and_verifies_without_the_servers_dependencies() -> None:
    blocked = (
        "alembic,asyncpg,fastapi,greenlet,aiosqlite,msgspec,prometheus_client,pydantic,pydantic_core,"
        "pydantic_settings,rich,sqlalchemy,sse_starlette,starlette,structlog,typer,uvicorn,uvloop,httptools"
    )
    ran = subprocess.run(
        [sys.executable, "-c", BLOCKED, blocked], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.stdout, ran.returncode) == ("alone\n", 0), ran.stderr


def public(kind: type[GatewayClient] | type[AsyncGatewayClient]) -> dict[str, Any]:
    return {
        name: [
            str(one.replace(annotation=inspect.Parameter.empty)) for one in inspect.signature(made).parameters.values()
        ]
        for name, made in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") or name == "__init__"
    }


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    assert public(GatewayClient) == public(AsyncGatewayClient)
    assert len(public(GatewayClient)) > 15


def test_what_is_offered_is_listed_in_order() -> None:
    offered = tempolor_gateway_client.__all__
    assert offered == sorted(offered, key=lambda name: (not name.isupper(), name))
