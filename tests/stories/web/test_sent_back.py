"""Whoever was given a secret of ours may send it back, wherever a text fits in. It is kept and shown nowhere (G11)."""

import json
import urllib.parse
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.gateway import ADMIN_KEY, SECRET, SONG, Running, eventually
from tests.support.notifications import Watching, client_of, watching
from tests.support.receiver import plain
from tests.support.song_callbacks import done, song
from tests.support.start_fixtures import StartGateway, StartSandbox

MARK = "[redacted]"
SPELLINGS = (
    str,
    str.upper,
    str.lower,
    lambda text: urllib.parse.quote(text, safe=""),
    lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    lambda text: "".join(f"&#{ord(one)};" for one in text),
)


def _spellings(held: list[Any]) -> list[Any]:
    return [spell(one) for one in held for spell in SPELLINGS]


def _everywhere(text: Any) -> dict[str, Any]:
    """An item with a text in each place of it."""
    return {
        "item_id": "t2m_1",
        "status": "running",
        "audio_hi_status": text,
        "event": text[:64],
        "title": f"Harbour {text}",
        "err_msg": text,
        "lyrics": f"one\ntwo {text}\nthree",
        "lyrics_sections": [{"start": 1, "end": 2, "text": text}],
        "audio_url": f"https://cdn.example/a.mp3?auth_key={urllib.parse.quote(text)}",
        "odd": {"deep": [{text: [text]}]},
        text: text,
    }


async def _shown(gateway: Running, receivers: Sequence[Any] = ()) -> list[str]:
    """All that the gateway shows an admin, and has posted."""
    api, told = gateway.api, []
    for path in ("/v1/tasks", "/v1/callbacks", "/v1/notifications", "/v1/submissions", "/v1/audit", "/backlog"):
        told.append((await api.get(path)).text)
    for path, rest in (("/v1/tasks", ("", "/timeline")), ("/v1/callbacks", ("",)), ("/v1/notifications", ("",))):
        for row in (await api.get(path, params={"limit": 200})).json()["data"]:
            told += [(await api.get(f"{path}/{row['id']}{one}")).text for one in rest]
    told.append((await api.get("/metrics")).text)
    told += [repr(vars(receiver)) for receiver in receivers]
    return told


def _assert_hidden(places: list[Any], held: list[str]) -> None:
    whole = "\n".join(places)
    for text in _spellings(held):
        assert text not in whole
        assert json.dumps(text)[1:-1] not in whole


async def test_what_a_callback_brings_back_is_nowhere(
    gateway: Running, db: Direct, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = UUID((await gateway.submit())["id"])
    token = gateway.gateway.context.tokens.sign("song", task_id)
    key = gateway.settings.tempolor_api_key.get_secret_value()
    held = [key, token, SECRET, ADMIN_KEY, f"tpg_{'q7-Zx_2Kd' * 5}"]
    for turn, text in enumerate([*_spellings(held), *_spellings([gateway.callback_url("song", task_id)])]):
        raw = json.dumps({"songs": [_everywhere(text)], text: text}).encode()
        for body in (raw, (raw.replace(b"/", b"\\/"), raw.decode().encode("utf-16"))[turn % 2]):
            answer = await gateway.call_back("song", body, task_id)
            assert (answer.status_code, answer.text) == (200, "success")
        nameless = json.dumps({"songs": [{"item_id": text}]}).encode()
        bad = (b"no JSON " + raw, nameless, b"<" + text.encode())[turn // len(SPELLINGS) % 3]
        assert (await gateway.call_back("song", bad, task_id)).status_code == 400
    [item] = (await gateway.task(str(task_id)))["items"]
    assert item["title"].endswith(MARK)
    assert item["vendor"][MARK] == MARK
    everything = await db.everything()
    _assert_hidden([*await _shown(gateway), *map(str, everything.values()), caplog.text], held)


async def test_a_repeat_of_what_was_cleaned_is_known_and_a_replay_changes_nothing(gateway: Running) -> None:
    task_id = UUID((await gateway.submit())["id"])
    key = gateway.settings.tempolor_api_key.get_secret_value()
    body = song(title=f"by {key}")
    for _ in range(2):
        assert (await gateway.call_back("song", body, task_id)).status_code == 200
    [row] = (await gateway.api.get("/v1/callbacks")).json()["data"]
    assert row["count"] == 2
    before = await gateway.task(str(task_id))
    replayed = await gateway.api.post(f"/v1/callbacks/{row['id']}/replay")
    assert (replayed.status_code, replayed.json()["changed"]) == (200, [])
    assert (await gateway.task(str(task_id)))["items"] == before["items"]
    # The same words without a secret of ours are another body.
    await gateway.call_back("song", song(title=f"by {MARK}"), task_id)
    assert len((await gateway.api.get("/v1/callbacks")).json()["data"]) == 2


async def test_what_the_vendor_repeats_in_answers_and_works_is_nowhere(
    start_gateway: StartGateway, start_sandbox: StartSandbox, db: Direct, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    sandbox = await start_sandbox(scale=200, durations={"jitter": 0})
    key = sandbox.config.api_key
    echo = "{key} {callback_url}"
    sandbox.add_rules(
        answers=[
            {"operation": "submit", "prompt": "refused", "status": 400003, "message": echo, "request_id": echo},
            {"operation": "submit", "prompt": "busy", "status": 400006, "message": echo, "request_id": echo},
            {"operation": "submit", "prompt": "taken", "message": echo, "request_id": echo},
            {"operation": "query", "status": 400003, "message": echo, "request_id": echo},
            {"operation": "account", "status": 400002, "message": echo, "request_id": echo},
        ],
        works=[{"prompt": "taken", "echo": True, "drop": ["wav_complete"]}],
    )
    gateway = await start_gateway(sandbox, query_first_after_s=0.5, query_interval_s=0.3, egress_allow_private=True)
    async with watching(plain("200 OK", body=f"thanks for {key}".encode())) as receiver:
        studio = await client_of(gateway)
        ids = {}
        for prompt in ("refused", "busy", "taken"):
            params = {**SONG, "prompt": prompt}
            ids[prompt] = (await studio.submit(receiver.url(), params=params))["id"]
        pinged = await gateway.api.post("/v1/notifications/test", json={"url": receiver.url()})
        await gateway.api.get("/v1/account")
        failed = await gateway.until(ids["refused"], "failed", timeout_s=30)
        await gateway.until(ids["busy"], "succeeded", timeout_s=30)
        taken = await gateway.until(ids["taken"], "succeeded", timeout_s=30)
        await eventually(lambda: _told(receiver, 3), timeout_s=30)
        tokens = [gateway.gateway.context.tokens.sign("song", UUID(one)) for one in ids.values()]
        shown = await _shown(gateway, [receiver])
    assert failed["error"]["message"].startswith(f"{MARK} http")
    assert pinged.json()["answer"] == f"thanks for {MARK}"
    assert MARK in json.dumps(taken["items"])
    everything = await db.everything()
    calls = [repr(call.item_ids) for call in sandbox.calls]
    _assert_hidden([*shown, *map(str, everything.values()), *calls, caplog.text, pinged.text], [key, *tokens])


async def _told(receiver: Watching, least: Any) -> Any:
    return receiver.connections >= least


@on_sqlite
async def test_what_names_itself_after_a_secret_is_not_taken(
    start_gateway: StartGateway, start_sandbox: StartSandbox, db: Direct
) -> None:
    """An item of that name could not be asked about. Where all of an answer are so, its outcome is unknown."""
    sandbox = await start_sandbox()
    gateway = await start_gateway(sandbox, workers=False)
    task_id = UUID((await gateway.submit())["id"])
    key = gateway.settings.tempolor_api_key.get_secret_value()
    answer = await gateway.call_back("song", {"songs": [done()["songs"][0], {"item_id": f"a{key}"}]}, task_id)
    assert answer.status_code == 200
    assert len((await gateway.task(str(task_id)))["items"]) == 1
    assert (await gateway.call_back("song", {"songs": [{"item_id": key}]}, task_id)).status_code == 400
    assert await db.mentions(key) == []


@on_sqlite
async def test_a_request_that_holds_a_secret_of_ours_is_refused(gateway: Running, db: Direct) -> None:
    """It would go on to the vendor and to receivers."""
    key = gateway.settings.tempolor_api_key.get_secret_value()
    for text in (key, ADMIN_KEY, SECRET, gateway.callback_url("song"), urllib.parse.quote(key).replace("-", "%2D")):
        for more in ({"params": {**SONG, "prompt": text}}, {"reference": text}, {"metadata": {text: 1}}):
            answer = await gateway.api.post("/v1/tasks", json={"kind": "song.generate", "params": SONG} | more)
            assert answer.status_code == 422
            assert text not in answer.text
    assert await db.mentions(key, SECRET) == []


@on_sqlite
async def test_what_is_logged_nonetheless_loses_its_secrets(
    gateway: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    key = gateway.settings.tempolor_api_key.get_secret_value()
    for path in (f"/v1/items/{key}", f"/v1/tasks/{key}", f"/v1/tasks?reference={key}"):
        answer = await gateway.api.get(path, headers={"X-Request-ID": key})
        assert key not in str(answer.headers)
    told = capsys.readouterr()
    assert key not in told.err + told.out
