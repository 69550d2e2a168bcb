"""What commands print: with --json what the API answers, else a line for each row."""

import json
from typing import Any
from uuid import UUID

import pytest

from tests.support.commands import VENDOR_KEY, call, environment, good
from tests.support.databases import on_sqlite
from tests.support.gateway import Running
from tests.support.notifications import client_of
from tests.support.song_callbacks import done
from tests.support.start_fixtures import StartGateway, StartSandbox

NOBODYS = "0192aaaa-0000-7000-8000-000000000000"
pytestmark = on_sqlite


async def as_json(*arguments: str, env: dict[str, str]) -> Any:
    return json.loads((await good(*arguments, "--json", env=env)).out)


async def api(gateway: Running, path: str, **params: Any) -> Any:
    answer = await gateway.api.get(path, params=params or None)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def lines(*arguments: str, env: dict[str, str]) -> list[list[str]]:
    return [line.split("\t") for line in (await good(*arguments, env=env)).out.splitlines()]


async def test_json_is_what_the_api_answers(gateway: Running, env: dict[str, str]) -> None:
    studio = await client_of(gateway, "studio")
    task = await studio.submit("https://hooks.example/a", reference="order-17")
    await gateway.call_back("song", done("t2m_1"), UUID(task["id"]))
    await gateway.submit()
    for command, path in (
        (("tasks", "list"), "/v1/tasks?view=summary"),
        (("tasks", "show", task["id"]), f"/v1/tasks/{task['id']}"),
        (("tasks", "timeline", task["id"]), f"/v1/tasks/{task['id']}/timeline"),
        (("notifications", "list"), "/v1/notifications"),
        (("callbacks", "list"), "/v1/callbacks"),
        (("clients", "list"), "/v1/clients"),
        (("audit",), "/v1/audit"),
        (("drift",), "/v1/drift"),
        (("submissions", "show"), "/v1/submissions"),
    ):
        printed, answered = await as_json(*command, env=env), await api(gateway, path)
        for one in (printed, answered):
            for waiting in one.pop("waiting", ()):  # whose ages go on
                assert waiting
        assert printed == answered, command


async def test_lists_are_lines_whose_first_field_is_the_id(gateway: Running, env: dict[str, str]) -> None:
    studio = await client_of(gateway, "studio")
    task = await studio.submit("https://hooks.example/a", reference="order\t17")
    await gateway.call_back("song", done("t2m_1", title="Harbour\nLights"), UUID(task["id"]))
    [row] = await lines("tasks", "list", "--client", "studio", env=env)
    assert (row[0], row[1], row[5:]) == (task["id"], "song.generate", ["studio", "order 17"])
    accepted, *_ = await lines("tasks", "timeline", task["id"], env=env)
    assert (accepted[0], accepted[2]) == ("1", "accepted")
    listed = await lines("notifications", "list", "--task", task["id"], env=env)
    assert [row[0] for row in listed] == [one["id"] for one in await studio.notifications()]
    shown = await lines("tasks", "show", task["id"], env=env)
    assert ["id", task["id"]] in shown
    assert "audio ready" in shown[-1][3]
    assert (shown[-1][0], shown[-1][4]) == ("t2m_1", "Harbour Lights")


async def test_a_family_that_there_is_not_is_no_empty_list(gateway: Running, env: dict[str, str]) -> None:
    refused = await call("callbacks", "list", "--family", "songs", env=env)
    assert (refused.code, refused.out) == (1, "")
    assert "There is no family 'songs'" in refused.text


async def test_pages_go_on_where_the_one_before_ended(gateway: Running, env: dict[str, str]) -> None:
    ids = [(await gateway.submit())["id"] for _ in range(3)]
    await gateway.api.post(f"/v1/tasks/{ids[0]}/cancel")
    cursor = ""
    for start, command in ((["1", "2"], ("tasks", "timeline", ids[0])), (ids[::-1], ("tasks", "list"))):
        first = await good(*command, "--limit", "1", env=env)
        assert first.out.split("\t")[0] == start[0]
        [cursor] = [line.split()[-1] for line in first.err.splitlines() if "--cursor" in line]
        second = await good(*command, "--limit", "1", "--cursor", cursor, env=env)
        assert second.out.split("\t")[0] == start[1]
    other = await call("tasks", "list", "--kind", "midi.create", "--cursor", cursor, env=env)
    assert (other.code, "cursor" in other.err, "Traceback" in other.err) == (1, True, False)


async def test_filters_choose(gateway: Running, env: dict[str, str]) -> None:
    task = await gateway.submit(reference="a")
    await gateway.submit("midi.create", reference="b")
    await gateway.api.post(f"/v1/tasks/{task['id']}/cancel")
    for filters in (
        ["--status", "canceled", "--status", "failed"],
        ["--kind", "song.generate"],
        ["--reference", "a"],
        ["--finished-after", "2020-01-01T00:00:00Z"],
        ["--client", "bootstrap", "--reference", "a", "--created-after", "2020-01-01T00:00:00Z"],
    ):
        assert [row[0] for row in await lines("tasks", "list", *filters, env=env)] == [task["id"]], filters
    assert await lines("tasks", "list", "--created-before", "2020-01-01T00:00:00+02:00", env=env) == []


async def test_what_cannot_be_shown_is_told_in_a_line(gateway: Running, env: dict[str, str]) -> None:
    for command, said in (
        (["tasks", "show", NOBODYS], "there is no such task"),
        (["tasks", "timeline", NOBODYS], "there is no such task"),
        (["tasks", "list", "--created-after", "today"], "not a time with an offset"),
        (["tasks", "list", "--cursor", "nonsense"], "cursor"),
        (["notifications", "list", "--status", "lost"], "pending, delivered, dead"),
    ):
        ended = await call(*command, env=env)
        assert (ended.code, ended.out) == (1, "")
        assert said in ended.err.splitlines()[-1]


@pytest.mark.real_time
async def test_the_account_is_that_of_the_vendor(
    start_gateway: StartGateway, start_sandbox: StartSandbox, database_url: str
) -> None:
    sandbox = await start_sandbox(api_key=VENDOR_KEY)
    gateway: Running = await start_gateway(sandbox, workers=False, tempolor_api_key=VENDOR_KEY)
    env = environment(database_url, tempolor_base_url=sandbox.base_url)
    printed, answered = await as_json("account", env=env), await api(gateway, "/v1/account")
    assert printed.pop("as_of")
    assert answered.pop("as_of")
    assert printed == answered
    assert ["balance", str(answered["balance"])] in await lines("account", env=env)
    away = await call("account", env=environment(database_url))
    assert (away.code, "the vendor's account could not be read" in away.err) == (1, True)
