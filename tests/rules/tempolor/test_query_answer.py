"""What an answer to a question means: read wherever its meaning is plain; else why it could not be read."""

import json
from typing import Any

import pytest

from app.tempolor import answers
from app.tempolor.answers import Answered, Response, Spoiled, Unanswered, fault_of, read_query_answer
from app.tempolor.kinds import FAMILIES

SONG = FAMILIES["song"]
ITEM = {"item_id": "t2m_1", "status": "succeeded", "title": "Harbour Lights"}
OTHER = {"item_id": "t2m_2", "status": "running"}


def answer(document: Any, http_status: int = 200, retry_after_s: float | None = None) -> Any:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return read_query_answer(Response(http_status, content, retry_after_s), SONG)


def envelope(data: list[Any] | dict[str, Any] | None, status: int | str = 200000, **more: Any) -> dict[str, Any]:
    return {"status": status, "message": "success", "request_id": "r", "data": data, **more}


def shown(found: Answered) -> dict[str, str | None]:
    return {reading.item_id: reading.statuses.get("status") for reading in found.readings}


@pytest.mark.parametrize("status", [200000, "200000"])
@pytest.mark.parametrize("items", [[], [ITEM], [ITEM, OTHER]])
def test_in_the_documented_list_the_absent_are_unknown(status: int | str, items: list[dict[str, str]]) -> None:
    found = answer(envelope({"songs": items}, status))
    assert (shown(found), found.whole) == ({one["item_id"]: one["status"] for one in items}, True)


@pytest.mark.parametrize("odd", [None, 7, {}, {"item_id": None}, {"item_id": "x" * 201}], ids=str)
def test_where_one_item_cannot_be_read_the_absent_are_not_unknown(odd: int | dict[str, Any] | None) -> None:
    found = answer(envelope({"songs": [ITEM, odd]}))
    assert (shown(found), found.whole) == ({"t2m_1": "succeeded"}, False)


def test_where_some_items_are_passed_over_the_absent_are_not_unknown() -> None:
    found = answer(envelope({"songs": [{**ITEM, "item_id": f"t2m_{number}"} for number in range(5000)]}))
    assert len(found.readings) <= 200
    assert not found.whole


ELSEWHERE = {
    "the data is the list": envelope([ITEM, OTHER]),
    "in items": envelope({"items": [ITEM, OTHER]}),
    "by their ids": envelope({"songs": {"t2m_1": ITEM, "t2m_2": {"status": "running"}}}),
    "by their ids in the data": envelope({"t2m_1": {"status": "succeeded"}, "t2m_2": OTHER}),
    "in items by their ids": envelope({"items": {"t2m_1": ITEM, "t2m_2": OTHER}}),
    "beside the envelope": envelope(None, songs=[ITEM, OTHER]),
    "as a callback": {"songs": [ITEM, OTHER]},
    "bare": [ITEM, OTHER],
    "without a status": {"data": {"songs": [ITEM, OTHER]}},
}


@pytest.mark.parametrize("document", ELSEWHERE.values(), ids=ELSEWHERE)
def test_items_are_found_where_nobody_documented_them_and_nothing_is_concluded_of_the_absent(
    document: dict[str, Any] | list[dict[str, str]],
) -> None:
    found = answer(document)
    assert (shown(found), found.whole) == ({"t2m_1": "succeeded", "t2m_2": "running"}, False)


@pytest.mark.parametrize(
    "document", [envelope(ITEM), envelope({"songs": ITEM}), envelope({"items": ITEM}), ITEM], ids=str
)
def test_one_item_by_itself_is_read(document: dict[str, Any]) -> None:
    found = answer(document)
    assert (shown(found), found.whole) == ({"t2m_1": "succeeded"}, False)


TEXTS = {
    "a raw line break": json.dumps(envelope({"songs": [ITEM]})).replace("Harbour ", "Harbour \n").encode(),
    "half a letter": json.dumps(envelope({"songs": [ITEM]})).encode().replace(b"Lights", b"\xe6\xb8\xaf\xe6\xb9"),
    "GBK": json.dumps(envelope({"songs": [ITEM | {"title": "港湾"}]}), ensure_ascii=False).encode("gbk"),
}


@pytest.mark.parametrize("content", TEXTS.values(), ids=TEXTS)
def test_text_that_is_not_quite_right_loses_no_item(content: bytes) -> None:
    assert shown(answer(content)) == {"t2m_1": "succeeded"}


UNUSABLE = {
    "no data": (envelope(None), "no_list"),
    "empty data": (envelope({}), "no_list"),
    "an empty list for data": (envelope([]), "no_list"),
    "no items": (envelope([None, 1, "t2m_1", {}, {"status": "running"}]), "no_list"),
    "an empty object": (envelope({"songs": {}}), "no_list"),
    "a page": (envelope({"page": {"number": 1}}), "no_list"),
    "html": (b"<html>busy</html>", "no_envelope"),
    "empty": (b"", "no_envelope"),
    "cut short": (json.dumps(envelope({"songs": [ITEM]})).encode()[:-9], "no_envelope"),
    "no code": ({"data": {"songs": []}}, "no_envelope"),
    "a refusing code": (envelope({"songs": [ITEM]}, 400006), "400006"),
    "a code that nobody knows": (envelope(None, 477777), "477777"),
}


@pytest.mark.parametrize(("document", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_read_says_why_and_how_it_begins(document: dict[str, Any] | bytes, reason: str) -> None:
    found = answer(document, retry_after_s=3 if reason == "400006" else None)
    assert isinstance(found, Unanswered)
    assert found.reason == reason
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    assert found.excerpt == content.decode()


@pytest.mark.parametrize("http_status", [400, 404, 422])
def test_a_refusal_is_read_also_where_it_comes_with_an_http_status(http_status: int) -> None:
    assert isinstance(answer(envelope(None, 400008), http_status), Spoiled)
    rejected = answer(envelope(None, 400002), http_status)
    assert (rejected.reason, rejected.key_rejected) == ("400002", True)


@pytest.mark.parametrize("http_status", [500, 503])
def test_what_an_ailing_server_says_is_no_word_on_an_item(http_status: int) -> None:
    assert answer(envelope(None, 400008), http_status).reason == f"http_{http_status}"


@pytest.mark.parametrize("http_status", [500, 503, 302, 404, 429, 999])
def test_of_an_http_error_nothing_is_read(http_status: int) -> None:
    found = answer(envelope({"songs": [ITEM]}), http_status, retry_after_s=7)
    assert (found.reason, found.retry_after_s) == (f"http_{http_status}", 7)
    assert "Harbour" in found.excerpt
    assert fault_of(found) == f"http_{http_status // 100}xx"


def test_faults_are_few() -> None:
    assert fault_of(answer(envelope(None, 477777))) == "other_code"
    assert fault_of(answer(envelope(None, 400006))) == "400006"
    assert fault_of(answer(envelope(None, 400003))) == "400003"
    assert isinstance(answer(envelope(None, 400003)), Spoiled)
    assert fault_of(answer(b"")) == "no_envelope"
    assert fault_of(Answered((), {}, whole=False)) == "not_shown"


def test_an_excerpt_is_bounded() -> None:
    assert len(answer(b"<" * 500_000).excerpt) == answers.MOST_EXCERPT
