"""Every answer tells browsers to guess nothing, keep nothing and load nothing; none tells what serves it."""

import re
from uuid import UUID

import httpx

from tests.support.databases import on_sqlite
from tests.support.gateway import Running
from tests.support.sockets import Line
from tests.support.song_callbacks import song

SECURITY = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}


def _assert_secure(headers: httpx.Headers) -> None:
    assert {name: headers.get_list(name) for name in SECURITY} == {name: [value] for name, value in SECURITY.items()}
    assert "server" not in headers
    assert "x-powered-by" not in headers


@on_sqlite
async def test_every_answer_carries_the_security_headers(gateway: Running) -> None:
    api, task = gateway.api, await gateway.submit()
    answers = [
        await api.get("/v1/tasks"),
        await api.get(f"/v1/tasks/{task['id']}"),
        await api.get("/v1/tasks/nothing"),
        await api.get("/v1/tasks", headers={"Authorization": "Bearer wrong"}),
        await api.post("/v1/tasks", content=b"{"),
        await api.post("/v1/tasks", content=b"{}"),
        await api.put("/v1/tasks"),
        await api.get("/nowhere"),
        await api.delete("/v1/clients/nobody"),
        await gateway.call_back("song", song(), UUID(task["id"])),
        await gateway.call_back("song", b"{", UUID(task["id"])),
        await api.post("/callbacks/song/wrong"),
        await api.get("/callbacks/song/wrong"),
        *[await api.get(path) for path in ("/healthz", "/readyz", "/backlog", "/metrics", "/openapi.json")],
    ]
    assert {answer.status_code for answer in answers} >= {200, 400, 401, 403, 404, 405, 422}
    for answer in answers:
        _assert_secure(answer.headers)
    async with api.stream("GET", "/v1/stream") as stream:
        _assert_secure(stream.headers)


@on_sqlite
async def test_an_answer_that_no_application_sees_carries_them_too(gateway: Running) -> None:
    async with Line(int(gateway.url.rpartition(":")[2])) as line:
        await line.send(b"nonsense\r\n\r\n")
        head = (await line.rest()).partition(b"\r\n\r\n")[0].decode().lower()
    for name, value in SECURITY.items():
        assert f"{name}: {value}\r\n" in head + "\r\n"
    assert "server:" not in head


@on_sqlite
async def test_no_page_is_served_that_loads_scripts_from_elsewhere(gateway: Running) -> None:
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert (await gateway.api.get(path)).status_code == 404
    document = (await gateway.api.get("/openapi.json")).text
    assert not re.search(r"cdn|jsdelivr|unpkg", document)
