"""Callback bodies, and what the log says of them."""

import base64
from typing import Any

from app.tempolor.kinds import Family
from tests.support.gateway import Running


def song(item_id: Any = "t2m_1", status: Any = "running", **fields: Any) -> dict[str, Any]:
    """A callback about one song."""
    return {"songs": [{"item_id": item_id, "status": status, **fields}]}


def done(item_id: str = "t2m_1", **fields: Any) -> dict[str, Any]:
    """A callback about a song of which everything is there."""
    return song(
        item_id,
        "succeeded",
        audio_hi_status="sub_succeeded",
        lyrics_sections_status="sub_succeeded",
        audio_url="https://cdn.example/a.mp3?auth_key=1",
        audio_hi_url="https://cdn.example/a.wav?auth_key=1",
        lyrics_sections=[{"start": 0.5, "end": 2.5, "text": "la"}],
        **fields,
    )


def worst_item(family: Family, turn: int = 0, letter: str = "\x01") -> dict[str, Any]:
    """An item of which everything is as long as can be; a letter takes up to six bytes."""
    chars = {"model": 200, "title": 500, "style": 1000, "prompt": 3000, "err_msg": 1000, "error": 1000}
    chars |= dict.fromkeys(("lyrics", "lyric", "lyrics_disp", "lrc_mv"), 6000)
    item: dict[str, Any] = {name: letter * (count - len(name)) + name for name, count in chars.items()}
    item["lyrics_sections"] = [{"start_ms": 10, "end_ms": 20, "text": letter} for _ in range(64 * 1024 // 45)]
    item |= {f"{turn:02}{n:02}" + letter * 196: f"{n:02}" + letter * 681 for n in range(40)}
    item |= dict.fromkeys(family.shape.url_fields, f"https://cdn/{turn}/" + letter * 670)
    return item


async def logged(gateway: Running, task_id: str | None = None) -> list[dict[str, Any]]:
    """The inbound log, oldest first."""
    params = {"limit": "200"} | ({"task_id": task_id} if task_id else {})
    answer = await gateway.api.get("/v1/callbacks", params=params)
    assert answer.status_code == 200, answer.text
    assert answer.json()["next_cursor"] is None
    return answer.json()["data"][::-1]


async def raw_body(gateway: Running, callback_id: str) -> bytes:
    """The body that the log kept of a callback."""
    answer = await gateway.api.get(f"/v1/callbacks/{callback_id}")
    assert answer.status_code == 200, answer.text
    kept = answer.json()
    if kept["body"] is not None:
        assert kept["body_base64"] is None
        return kept["body"].encode()
    return base64.b64decode(kept["body_base64"])


def assert_problem(answer: Any, status: int, code: str | None = None) -> dict[str, Any]:
    """The answer is an RFC 9457 document of this status and code; returns it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].partition(";")[0] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert {"type", "title", "status", "code", "detail"} <= problem.keys()
    assert problem["code"].replace("_", "").isalnum()
    assert problem["code"] == problem["code"].lower()
    if code is not None:
        assert problem["code"] == code
    return problem


def said(problem: Any) -> dict[str, Any]:
    """What a problem says, without the request that it is of."""
    document = problem if isinstance(problem, dict) else problem.json()
    return {name: value for name, value in document.items() if name != "request_id"}
