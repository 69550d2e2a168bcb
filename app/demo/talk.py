"""Two conversations over HTTP: with the gateway, as any client has it, and with the sandbox that knows the truth."""

from typing import Any

import httpx

Document = dict[str, Any]


class Gateway:
    """The gateway's REST API."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def submit(self, kind: str, params: Document) -> Document:
        """Submit a task; the task as it was accepted."""
        return _content(await self._http.post("/v1/tasks", json={"kind": kind, "params": params}))

    async def tasks(self) -> list[Document]:
        """All tasks, oldest first."""
        page = _content(await self._http.get("/v1/tasks", params={"limit": 200}))
        return list(reversed(page["data"]))

    async def timeline(self, task_id: str) -> list[Document]:
        """What happened to a task, oldest first."""
        return list(_content(await self._http.get(f"/v1/tasks/{task_id}/timeline"))["data"])


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
