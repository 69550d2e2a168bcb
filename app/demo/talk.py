"""The conversations: with the gateway by its client, as anybody has it, and with the sandbox that knows the truth."""

from typing import Any

import httpx

from tempolor_gateway_client import AsyncGatewayClient, Retries, Task

Document = dict[str, Any]


def gateway_at(url: str, api_key: str) -> AsyncGatewayClient:
    """The gateway's client. Nothing is tried again: a gateway of the demo that is away has failed."""
    return AsyncGatewayClient(url, api_key, retries=Retries(total_s=0), trust_env=False)


async def tasks_of(gateway: AsyncGatewayClient) -> list[Task]:
    """All tasks, oldest first."""
    return [task async for task in gateway.list()][::-1]


class Vendor:
    """The sandbox's control API."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def configure(self, changes: Document) -> None:
        """Change its configuration."""
        _content(await self._http.patch("/_sandbox/config", json=changes))

    async def script(self, rules: Document) -> None:
        """Tell it what shall happen."""
        _content(await self._http.post("/_sandbox/script", json=rules))

    async def truth(self, part: str = "") -> Any:
        """``works``, ``calls`` or ``callbacks``: a list; without a name the counters."""
        content = _content(await self._http.get(f"/_sandbox/{part}" if part else "/_sandbox"))
        return content["data"] if part else content


def _content(answer: httpx.Response) -> Document:
    if answer.is_error:
        message = f"{answer.request.method} {answer.request.url.path} was answered {answer.status_code}: {answer.text}"
        raise httpx.HTTPStatusError(message, request=answer.request, response=answer)
    found: Document = answer.json()
    return found
