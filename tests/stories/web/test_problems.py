"""Whatever is asked: an answer of the documented form, never a 500, and no secret or value in it."""

import json

from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.gateway import SONG, Running
from tests.support.song_callbacks import assert_problem

CANARY = "canary-5f2b9c"


@on_sqlite
async def test_every_error_is_a_problem_with_a_stable_code(gateway: Running) -> None:
    api = gateway.api
    key = {"Authorization": "Bearer wrong"}
    expected = [
        (await api.get("/nowhere"), 404, "not_found"),
        (await api.get("/v1"), 404, "not_found"),
        (await api.post("/v1/nowhere", json={}), 404, "not_found"),
        (await api.get("/v1/tasks/0192aaaa-0000-7000-8000-000000000000"), 404, "not_found"),
        (await api.get("/v1/tasks/not-an-id"), 404, "not_found"),
        (await api.get("/v1/tasks/not-an-id/timeline"), 404, "not_found"),
        (await api.get("/v1/items/nobody"), 404, "not_found"),
        (await api.get("/v1/callbacks/not-an-id"), 404, "not_found"),
        (await api.delete("/v1/clients/nobody"), 404, "not_found"),
        (await api.put("/v1/tasks", json={}), 405, "method_not_allowed"),
        (await api.delete("/healthz"), 405, "method_not_allowed"),
        (await api.get("/v1/tasks", headers=key), 401, "unauthenticated"),
        (await api.post("/v1/tasks", json={"kind": "x", "params": {}}), 422, "invalid_request"),
        (await api.post("/v1/tasks", content=b"{"), 400, "invalid_json"),
        (await api.get("/v1/tasks", params={"cursor": "nonsense"}), 400, "bad_cursor"),
        (await api.get("/v1/tasks", params={"limit": "0"}), 422, "invalid_request"),
        (await api.get("/v1/callbacks", params={"cursor": "=" * 9}), 400, "bad_cursor"),
        (await api.post("/v1/clients", json={"name": "bootstrap"}), 422, "invalid_request"),
    ]
    for answer, status, code in expected:
        problem = assert_problem(answer, status, code)
        assert problem["detail"]
    assert expected[11][0].headers["www-authenticate"].startswith("Bearer")
    assert "GET" in expected[10][0].headers["allow"]


@on_sqlite
async def test_no_error_repeats_what_it_was_given(gateway: Running) -> None:
    body = {"kind": CANARY, "params": {"prompt": {CANARY: 1}}, "reference": [CANARY], "webhook_url": f"x:{CANARY}"}
    answers = [
        await gateway.api.post("/v1/tasks", json=body),
        await gateway.api.post("/v1/tasks", json={"kind": "song.generate", "params": {"prompt": [CANARY], "model": 1}}),
        await gateway.api.post("/v1/tasks", json={"kind": "stems.create", "params": {"url": f"no url {CANARY}"}}),
        await gateway.api.post("/v1/tasks", content=f'{{"{CANARY}'.encode()),
        await gateway.api.post("/v1/clients", json={"name": "x", "admin": CANARY}),
        await gateway.api.get("/v1/tasks", headers={"Authorization": f"Bearer {CANARY}"}),
        await gateway.api.get("/v1/tasks", params={"status": CANARY, "limit": CANARY, "created_after": CANARY}),
        await gateway.api.get("/v1/tasks", params={"cursor": CANARY}),
        await gateway.api.get(f"/v1/tasks/{CANARY}"),
        await gateway.api.get(f"/v1/items/{CANARY}"),
        await gateway.api.post(f"/callbacks/song/{CANARY}", json={}),
        await gateway.api.get(f"/{CANARY}"),
    ]
    assert {answer.status_code for answer in answers} <= {400, 401, 403, 404, 422}
    assert [answer.text for answer in answers if CANARY in answer.text] == []


async def test_odd_requests_are_refused_and_never_crash(gateway: Running, db: Direct) -> None:
    """On both databases, since what one refuses in a statement the other may take."""
    ok = {"kind": "song.generate", "params": SONG}
    before = await db.everything()
    deep = 100_000
    posts = {
        "empty": b"",
        "not JSON": b"kind=song",
        "truncated": json.dumps(ok).encode()[:-3],
        "invalid UTF-8": b'{"kind":"song.generate","params":{"prompt":"\xff","model":"m"}}',
        "deep": b"[" * deep,
        "deep inside": b'{"kind":"song.generate","params":{"prompt":"x","model":"m","x":' + b"[" * deep + b"]" * deep,
        "rather deep": json.dumps(ok).encode()[:-2] + b',"x":' + b"[" * 60 + b"]" * 60 + b"}}",
        "NUL": json.dumps({**ok, "metadata": {"a": "x\x00y"}}).encode(),
        "NUL in a name": json.dumps({**ok, "metadata": {"a\x00": 1}}).encode(),
        "NUL in the reference": json.dumps({**ok, "reference": "\x00"}).encode(),
        "surrogate": json.dumps({**ok, "metadata": {"a": "\ud800"}}).encode(),
        "surrogate in a name": json.dumps({**ok, "metadata": {"\udfff": 1}}).encode(),
        "infinity": b'{"kind":"song.generate","params":{"prompt":"x","model":"m","x":1e400}}',
        "NaN": b'{"kind":"song.generate","params":{"prompt":"x","model":"m","x":NaN}}',
        "UTF-16": json.dumps(ok).encode("utf-16"),
    }
    no_json = ("empty", "not JSON", "truncated", "invalid UTF-8", "NaN", "UTF-16")
    answers = {name: await gateway.api.post("/v1/tasks", content=content) for name, content in posts.items()}
    for name, answer in answers.items():
        expected = (400, "invalid_json") if name in no_json else (422, "invalid_request")
        assert_problem(answer, *expected)
    assert await db.everything() == before


async def test_large_numbers_in_a_request_are_taken_or_refused(gateway: Running) -> None:
    for number in (2**63, 2**64, -(2**63) - 1, 10**30, 10**300, 1e308, 5e-324, -0.0):
        body = {"kind": "song.generate", "params": SONG, "metadata": {"n": number}}
        answer = await gateway.api.post("/v1/tasks", json=body)
        assert answer.status_code in (202, 422), (number, answer.text)
        if answer.status_code == 202:
            assert answer.json()["metadata"] == {"n": number}
            assert await gateway.task(answer.json()["id"]) == answer.json()
    assert (await gateway.api.get("/v1/tasks")).status_code == 200


async def test_odd_query_strings_are_answered_and_never_crash(gateway: Running) -> None:
    await gateway.submit()
    queries = {
        "limit=0": 422,
        "limit=201": 422,
        "limit=-1": 422,
        "limit=1e2": 422,
        f"limit={10**40}": 422,
        "limit=": 422,
        "limit=%00": 422,
        "limit=5&limit=7": 200,
        "status=nonsense": 422,
        "status=queued&status=running": 200,
        "status=%00": 422,
        "kind=nonsense": 200,
        "kind=%00": 422,
        "reference=%00": 422,
        "reference=%ff%fe": 200,
        "reference=%ed%a0%80": 200,
        f"reference={'x' * 5000}": 200,
        "client=nobody": 200,
        "client=%00": 422,
        "client=%ed%a0%80": 200,
        "created_after=yesterday": 422,
        "created_after=2026-01-01": 422,
        "created_after=2026-01-01T00:00:00": 422,
        "created_after=2026-01-01T00:00:00Z": 200,
        "created_after=0001-01-01T00:00:00Z": 200,
        "created_before=9999-12-31T23:59:59Z": 200,
        "created_before=9999-12-31T23:59:59-12:00": None,
        "created_after=0001-01-01T00:00:00%2B14:00": None,
        "created_after=1e30": None,
        "created_after=-99999999999": None,
        "cursor=": 400,
        "cursor=%00": 400,
        "cursor=%C3%A9": 400,
        f"cursor={'A' * 32}": 400,
        f"cursor={'A' * 10_000}": 400,
        "nonsense=1": 422,
        "&&&=": 200,
    }
    found = {query: (await gateway.api.get(f"/v1/tasks?{query}")).status_code for query in queries}
    assert {query: status for query, status in found.items() if queries[query] not in (status, None)} == {}
    assert {query: status for query, status in found.items() if status >= 500} == {}


A_TASK = "0192aaaa-0000-7000-8000-000000000000"
MOMENTS = ("created_after", "created_before", "finished_after", "finished_before")
BAD_FILTERS = {
    "/v1/audit": ["limit=0", "limit=201", "limit=many"],
    "/v1/drift": ["sort=none"],
    "/v1/tasks": [
        *(f"view={value}" for value in ("short", "", "SUMMARY")),
        *(f"status={value}" for value in ("nonsense", "", "%00", "QUEUED")),
        *(f"limit={value}" for value in ("0", "201", "x", "")),
        *(f"{name}={value}" for name in MOMENTS for value in ("soon", "2026-01-01", "")),
        *(f"{name}=%00" for name in ("kind", "reference", "client")),
    ],
    "/v1/callbacks": [
        *(f"task_id={value}" for value in ("nope", "", "%00", "0192", f"{A_TASK}0", f"{A_TASK}%20", "%C3%A9")),
        *(f"disposition={value}" for value in ("nonsense", "", "%00")),
        *(f"limit={value}" for value in ("0", "201", "x", "")),
    ],
    "/v1/notifications": [
        *(f"task_id={value}" for value in ("nope", "", "%00", "0192", f"{A_TASK}0", f"{A_TASK}%20", "%C3%A9")),
        *(f"status={value}" for value in ("nonsense", "", "%00", "DEAD")),
        *(f"limit={value}" for value in ("0", "201", "x", "")),
    ],
}


@on_sqlite
async def test_a_filter_that_cannot_be_is_refused_by_name_on_every_list(gateway: Running) -> None:
    document = (await gateway.api.get("/openapi.json")).json()
    lists = {
        path: {one["name"] for one in methods["get"].get("parameters", ()) if one["in"] == "query"} - {"cursor"}
        for path, methods in document["paths"].items()
        if "get" in methods and "{" not in path and path != "/v1/stream"  # a wrong ticket is a wrong key
    }
    tried = {path: {query.partition("=")[0] for query in queries} for path, queries in BAD_FILTERS.items()}
    differ = {path: lists.get(path, set()) ^ tried.get(path, set()) for path in lists | tried}
    assert {path: names for path, names in differ.items() if names} == {}, "BAD_FILTERS tries each filter of each list"
    for path, queries in BAD_FILTERS.items():
        for query in queries:
            name = query.partition("=")[0]
            problem = assert_problem(await gateway.api.get(f"{path}?{query}"), 422, "invalid_request")
            assert {one["path"].partition(".")[0] for one in problem["errors"]} == {name}, (path, query)
        several = "&".join({query.partition("=")[0]: query for query in queries}.values())
        problem = assert_problem(await gateway.api.get(f"{path}?{several}"), 422, "invalid_request")
        assert {one["path"].partition(".")[0] for one in problem["errors"]} == tried[path]


async def test_a_filter_that_nothing_matches_gives_an_empty_list(gateway: Running) -> None:
    task = await gateway.submit()
    for query in (
        f"callbacks?task_id={A_TASK}",
        f"callbacks?task_id={task['id']}",
        f"notifications?task_id={A_TASK}",
        f"notifications?task_id={A_TASK.replace('-', '').upper()}&status=dead",
        "tasks?kind=nonsense",
        "tasks?client=nobody",
    ):
        answer = await gateway.api.get(f"/v1/{query}")
        assert (answer.status_code, answer.json()) == (200, {"data": [], "next_cursor": None}), query


async def test_odd_paths_are_answered_and_never_crash(gateway: Running) -> None:
    odd = ["%00", "a%00b", "%ff", "%ed%a0%80", "x" * 5000, "%2e%2e", "..%2f..", "%C3%A9", "{}", "0" * 32, "null", "%20"]
    found = {}
    for text in odd:
        for path in (f"/v1/tasks/{text}", f"/v1/tasks/{text}/timeline", f"/v1/items/{text}", f"/v1/callbacks/{text}"):
            found[path[:60]] = (await gateway.api.get(path)).status_code
        found[f"DELETE {text[:40]}"] = (await gateway.api.delete(f"/v1/clients/{text}")).status_code
    assert {path: status for path, status in found.items() if status not in (404, 405, 422)} == {}


async def test_odd_client_names_are_refused_or_work(gateway: Running) -> None:
    for name in ("", " ", " a", "a ", "a/b", "a\x00", "\ud800", "a\nb", "x" * 101, "external", "bootstrap", 7, None):
        content = json.dumps({"name": name}).encode()
        answer = await gateway.api.post("/v1/clients", content=content)
        assert_problem(answer, 422)
    for name in ("x" * 100, "Zoë's studio", "a.b-c_d", "🎵"):
        assert (await gateway.api.post("/v1/clients", json={"name": name})).status_code == 201
        assert (await gateway.api.delete(f"/v1/clients/{name}")).status_code == 204


@on_sqlite
async def test_a_parameter_that_a_route_does_not_have_is_refused_by_its_name(gateway: Running) -> None:
    """`?state=failed` would else answer all tasks. For every route of the document that asks for a key."""
    task = await gateway.submit()
    values = {
        "task_id": task["id"],
        "callback_id": A_TASK,
        "notification_id": A_TASK,
        "item_id": "x",
        "name": "nobody",
        "member": "x",
        "form": "srt",
    }
    tried = 0
    for path, methods in (await gateway.api.get("/openapi.json")).json()["paths"].items():
        for method, operation in methods.items():
            if "401" not in operation["responses"]:
                continue
            url = path.format(**values)
            known = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
            query = "&".join(["x=1&state=a&y", *known])
            problem = assert_problem(await gateway.api.request(method, f"{url}?{query}"), 422, "invalid_request")
            assert [one["path"] for one in problem["errors"]] == ["x", "state", "y"][: len(problem["errors"])], url
            assert "x" in {one["path"] for one in problem["errors"]}
            answer = await gateway.api.request(method, f"{url}?x=1", headers={"Authorization": "Bearer nobody"})
            assert_problem(answer, 401, "unauthenticated")
            tried += 1
    assert tried > 25
    for query, told in (
        ("state=failed", "status"),
        ("created_afer=2026-01-01T00:00:00Z", "created_after"),
        ("created_after=2026-01-01T00:00:00+02:00", "%2B"),
        ("created_before=2026-01-01T00:00:00+0200", "%2B"),
    ):
        problem = assert_problem(await gateway.api.get(f"/v1/tasks?{query}"), 422, "invalid_request")
        assert told in problem["errors"][0]["message"]
    many = "&".join(f"x{n}" for n in range(5000))
    assert len((await gateway.api.get(f"/v1/tasks?{many}")).json()["errors"]) <= 20
    # Monitors and balancers add their own.
    for path in ("healthz", "readyz", "backlog", "metrics", "openapi.json"):
        assert (await gateway.api.get(f"/{path}?_=1732")).status_code == 200


@on_sqlite
async def test_a_slash_too_many_is_not_found_and_never_a_redirect(gateway: Running) -> None:
    """A redirect names the scheme that the gateway sees, behind TLS the wrong one, and clients drop the key."""
    for method, path in (
        ("POST", "/v1/tasks/"),
        ("GET", "/v1/tasks/"),
        ("GET", "/healthz/"),
        ("GET", "/v1/stream/"),
        ("GET", "/openapi.json/"),
        ("GET", "//v1/tasks"),
        ("POST", "/v1/tasks/batch/"),
    ):
        answer = await gateway.api.request(method, f"{gateway.url}{path}", json={}, follow_redirects=False)
        assert_problem(answer, 404, "not_found")
        assert "location" not in answer.headers


@on_sqlite
async def test_a_content_type_does_not_decide(gateway: Running) -> None:
    content = json.dumps({"kind": "song.generate", "params": SONG}).encode()
    for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded", "nonsense", ""):
        answer = await gateway.api.post("/v1/tasks", content=content, headers={"Content-Type": kind})
        assert answer.status_code == 202, kind
    assert (await gateway.api.post("/v1/tasks", data={"kind": "song.generate"})).status_code == 400


@on_sqlite
async def test_odd_authorization_headers_are_401(gateway: Running) -> None:
    odd = [
        b"",
        b"Bearer",
        b"Basic YTpi",
        b"Bearer \xff\xfe",
        b"Bearer a b",
        b"bearer\tx",
        b"Bearer " + b"k" * 9000,
    ]
    for value in odd:
        answer = await gateway.api.get("/v1/tasks", headers=[(b"authorization", value)])
        assert (value[:20], answer.status_code) == (value[:20], 401)
