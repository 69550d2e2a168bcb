"""What an answer to a submission means: certainly accepted, certainly refused, or unknown (G5)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tempolor import codes
from app.tempolor.answers import Accepted, Envelope, Refused, Response, Unknown, read_answer, read_submit_answer
from app.tempolor.codes import Remedy


def envelope(status: int | str = 200000, data: Any = None, **more: Any) -> dict[str, Any]:
    return {"status": status, "message": "m", "request_id": "req-1", "data": data, **more}


def answer(http_status: int, document: Any, retry_after_s: float | None = None) -> Any:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return read_submit_answer(Response(http_status, content, retry_after_s))


def test_ids_make_it_accepted() -> None:
    assert answer(200, envelope(data={"item_ids": ["t2m_1", "t2m_2"]})) == Accepted(("t2m_1", "t2m_2"), "req-1")


def test_ids_are_read_leniently_and_once_each() -> None:
    found = answer(200, envelope(data={"item_ids": [7, "a", None, "", "a", True, ["b"], "x" * 201, "c\x00"]}))
    assert found.item_ids == ("7", "a", "c\ufffd")


@pytest.mark.parametrize(
    "document",
    [
        {"item_ids": ["t2m_1"]},
        {"item_ids": ["t2m_1"], "request_id": "req-1"},
        {"status": None, "item_ids": ["t2m_1"]},
        {"status": "ok", "item_ids": ["t2m_1"], "data": None},
        envelope(data=None, item_ids=["t2m_1"]),
        envelope("200000", {"item_ids": ["t2m_1"]}),
    ],
)
def test_ids_beside_or_without_the_envelope_are_accepted(document: dict[str, Any]) -> None:
    assert answer(200, document) == Accepted(("t2m_1",), document.get("request_id"))


@pytest.mark.parametrize("http_status", [204, 299])
def test_any_2xx_with_ids_is_accepted(http_status: int) -> None:
    assert answer(http_status, envelope(data={"item_ids": ["t2m_1"]})) == Accepted(("t2m_1",), "req-1")


@pytest.mark.parametrize(
    "naming",
    [
        {"data": {"item_ids": ["t2m_1"]}},
        {"data": {"item_ids": "t2m_1"}},
        {"data": {"item_id": "t2m_1"}},
        {"data": {"itemId": 7}},
        {"data": {"item_ids[]": ["t2m_1"]}},
        {"data": {"songs": [{"item_id": "t2m_1", "status": "waiting"}]}},
        {"data": [{"deeper": {"ITEM_IDS": ["t2m_1"]}}]},
        {"item_ids": ["t2m_1"]},
        {"item-id": "t2m_1"},
    ],
    ids=str,
)
def test_a_refusal_that_names_an_item_is_unknown(naming: dict[str, Any]) -> None:
    refusals: list[tuple[int, Any]] = [
        (200, 400006),
        (200, "400003"),
        (200, 499999),
        (200, 0),
        (400, 400006),
        (429, None),
    ]
    for http_status, status in refusals:
        document = envelope(status, **naming) if "data" not in naming else envelope(status) | naming
        assert answer(http_status, document) == Unknown("refused_with_ids"), (http_status, status)


def test_a_refusal_that_names_an_item_in_a_body_that_is_no_json_is_unknown() -> None:
    assert answer(422, b'oops {"item_ids": ["t2m_1"], ') == Unknown("refused_with_ids")


@pytest.mark.parametrize("data", [{"item_ids": []}, {"item_ids": None}, {"item_id": ""}, {"item_id": {}}, {"id": 1}])
def test_a_refusal_that_names_no_item_is_a_refusal(data: dict[str, Any]) -> None:
    assert answer(200, envelope(400006, data)).meaning.remedy is Remedy.BACK_OFF


def test_of_a_flood_of_ids_the_first_are_kept_and_the_others_counted() -> None:
    found = answer(200, envelope(data={"item_ids": [f"t2m_{number}" for number in range(20_000)]}))
    assert (found.item_ids[0], len(found.item_ids), found.passed_over) == ("t2m_0", 500, 19_500)


@pytest.mark.parametrize(
    "data",
    [None, {}, [], "t2m_1", {"item_ids": []}, {"item_ids": None}, {"item_ids": "t2m_1"}, {"item_ids": [None, ""]}],
)
def test_success_without_a_readable_id_is_unknown(data: dict[str, Any] | list[Any] | str | None) -> None:
    assert answer(200, envelope(data=data)) == Unknown("no_item_ids")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"ok",
        b"<html>busy</html>",
        b"null",
        b"[]",
        b"{}",
        b'{"status":null}',
        b'{"status":"ok"}',
        b'{"status":"+200000"}',
        b'{"status":true}',
        b'{"status":200000.0}',
        b'{"code":400001}',
        b'{"status":200000,"data":{"item_ids":["t2m',
        b"\xff\xfe",
        b"[" * 100_000,
        b'["t2m_1"]',
        b'{"data":{"item_ids":["t2m_1"]}}',
    ],
)
def test_a_body_that_is_no_envelope_is_unknown(content: bytes) -> None:
    assert answer(200, content) == Unknown("no_envelope")


@pytest.mark.parametrize(
    "document", [b"", envelope(400006), envelope(400003), envelope(data={"item_ids": ["t2m_1"]})], ids=str
)
def test_3xx_5xx_and_those_who_gave_up_waiting_are_unknown_whatever_they_carry(
    document: bytes | dict[str, Any],
) -> None:
    for http_status in (300, 301, 302, 307, 308, 408, 499, 500, 502, 503, 504, 599, 600, 999):
        assert answer(http_status, document) == Unknown(f"http_{http_status}")
        assert isinstance(answer(http_status, document, retry_after_s=5), Unknown), http_status


@pytest.mark.parametrize(
    ("status", "code", "remedy", "retryable"),
    [
        (400001, "vendor_error", Remedy.BACK_OFF, True),
        (400002, "vendor_key_rejected", Remedy.FIX_KEY, True),
        (400003, "bad_parameter", Remedy.FAIL, False),
        (400004, "content_violation", Remedy.FAIL, False),
        (400005, "insufficient_points", Remedy.BUY_POINTS, True),
        (400006, "vendor_busy", Remedy.BACK_OFF, True),
        (400007, "vendor_queue_full", Remedy.WAIT_FOR_SLOT, True),
        (400008, "work_not_found", Remedy.FAIL, False),
        (400009, "work_status_abnormal", Remedy.FAIL, False),
        (400010, "model_not_offered", Remedy.HOLD_MODEL, False),
        (400011, "work_not_extendable", Remedy.FAIL, False),
        (400012, "vendor_refused", Remedy.HOLD_MODEL, False),
        (500000, "vendor_refused", Remedy.HOLD_MODEL, False),
        (0, "vendor_refused", Remedy.HOLD_MODEL, False),
        (404, "kind_not_offered", Remedy.HOLD_MODEL, False),
    ],
)
def test_a_refusing_code_is_refused_with_its_remedy(status: int, code: str, remedy: Remedy, retryable: bool) -> None:
    for http_status in (200, 201, 400, 422):
        found = answer(http_status, envelope(status, message="callback_url not blank"))
        assert isinstance(found, Refused), http_status
        assert (found.meaning.code, found.meaning.remedy, found.meaning.retryable) == (code, remedy, retryable)
        assert (found.status, found.message, found.request_id) == (status, "callback_url not blank", "req-1")


@pytest.mark.parametrize("http_status", [401, 403])
@pytest.mark.parametrize("document", [b"denied", envelope(400003), envelope(400002)])
def test_401_and_403_count_as_a_rejected_key(http_status: int, document: bytes | dict[str, Any]) -> None:
    assert answer(http_status, document).meaning.remedy is Remedy.FIX_KEY


@pytest.mark.parametrize("document", [b"", b"slow down", envelope(400003), envelope(200000)])
def test_429_is_refused_and_slows_everybody_down(document: bytes | dict[str, Any]) -> None:
    found = answer(429, document, retry_after_s=7)
    assert (found.meaning.remedy, found.retry_after_s) == (Remedy.SLOW_DOWN, 7)


@pytest.mark.parametrize("http_status", [407, 421, 425])
@pytest.mark.parametrize("document", [b"", b"<html>", envelope(400003), envelope(200000)])
def test_a_refusal_of_the_connection_is_tried_again(http_status: int, document: bytes | dict[str, Any]) -> None:
    found = answer(http_status, document, retry_after_s=7)
    assert (found.meaning.remedy, found.meaning.retryable, found.retry_after_s) == (Remedy.BACK_OFF, True, 7)


@pytest.mark.parametrize("http_status", [400, 413, 414, 422, 431])
@pytest.mark.parametrize("document", [b"nope", envelope(200000)])
def test_a_4xx_that_finds_fault_with_one_request_fails_it(http_status: int, document: bytes | dict[str, Any]) -> None:
    found = answer(http_status, document)
    assert (found.meaning.code, found.meaning.remedy) == ("vendor_refused", Remedy.FAIL)
    assert str(http_status) in found.message


@pytest.mark.parametrize("http_status", [402, 406, 409, 410, 415, 451])
def test_any_other_4xx_concerns_everybody(http_status: int) -> None:
    found = answer(http_status, b"nope")
    assert (found.meaning.code, found.meaning.remedy) == ("vendor_refused", Remedy.HOLD_MODEL)


@pytest.mark.parametrize("http_status", [404, 405])
@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html>not found</html>",
        b'{"status":404,"error":"Not Found","path":"/x"}',
        envelope(499999),
        envelope(200000),
    ],
    ids=str,
)
def test_an_operation_whose_path_is_gone_is_not_offered(http_status: int, document: bytes | dict[str, Any]) -> None:
    found = answer(http_status, document)
    assert (found.meaning.code, found.meaning.remedy) == ("kind_not_offered", Remedy.HOLD_MODEL)


@pytest.mark.parametrize(
    ("http_status", "status", "code"), [(404, 400004, "content_violation"), (405, 400006, "vendor_busy")]
)
def test_a_documented_code_says_more_than_a_404(http_status: int, status: int, code: str) -> None:
    assert answer(http_status, envelope(status)).meaning.code == code


@pytest.mark.parametrize(
    "message",
    [
        "model not support",
        "Model not support!",
        "model not supported",
        "MODEL NOT SUPPORT",
        "the model is not supported",
        "this model is no longer supported",
        "unsupported model: TemPolor v4.5",
        "invalid model",
        "model TemPolor v4.5 not found",
        "model 'x' does not exist",
        "models of this series are offline",
        "model must be one of [tempolor-latest, Mureka V9]",
        "the required model is not available",
        "param error: model",
        "model_name not support",
        "modelId invalid",
        "song_model not support",
        "songModel is not supported",
        "modelNotSupport",
        "the model does not support instrumental",
        "模型不支持",
        "该模型已下线",
        "不支持的模型",
        "暂不支持该模型，请更换",
        "参数错误：模型不存在",
        "模型类型不支持",
        "model不支持",
        "当前model已下架",
    ],
)
def test_a_bad_parameter_that_speaks_of_the_model_means_that_it_is_not_offered(message: str) -> None:
    found = answer(200, envelope(400003, message=message))
    assert (found.meaning.code, found.meaning.remedy, found.message) == (
        "model_not_offered",
        Remedy.HOLD_MODEL,
        message,
    )
    assert answer(422, envelope(400003, message=message)).meaning is found.meaning


@pytest.mark.parametrize(
    "message",
    [
        "",
        "parameter error",
        "参数错误",
        "callback_url not blank",
        "model not blank",
        "model can not be empty",
        "model is required",
        "missing model",
        "model must be a string",
        "model length exceeds 50",
        "model不能为空",
        "模型不能为空",
        "缺少模型参数",
        "模型名称过长",
        "prompt exceeds 1000 characters",
        "prompt is too long for this model",
        "the model takes at most 3000 characters of lyrics",
        "voice_id does not go with the model",
        "歌词超过模型限制",
        "提示词违规",
        "remodelling failed",
        "supermodel",
        "modeling",
        "url not reachable",
    ],
)
def test_a_bad_parameter_that_speaks_of_anything_else_concerns_one_task(message: str) -> None:
    found = answer(200, envelope(400003, message=message))
    assert (found.meaning.code, found.meaning.remedy) == ("bad_parameter", Remedy.FAIL)


@pytest.mark.parametrize("status", [400001, 400004, 400008, 400009, 400011])
def test_other_codes_that_speak_of_the_model_mean_what_they_mean(status: int) -> None:
    assert answer(200, envelope(status, message="model not support")).meaning is codes.ON_SUBMIT[status]


def test_the_vendors_words_are_cleaned_and_bounded() -> None:
    found = answer(200, envelope(400003, message="a\x00\ud800" + "b" * 9000, request_id=5))
    assert found.message[:3] == "a\ufffd\ufffd"
    assert len(found.message) == 500
    assert found.request_id is None


@given(st.integers(200, 599), st.binary(max_size=80))
def test_any_answer_is_sorted_and_never_accepted_without_ids(http_status: int, content: bytes) -> None:
    assert isinstance(answer(http_status, content), Refused | Unknown)


@pytest.mark.parametrize("number", ["1" * 5000, "1e999", "-1", "1" * 30])
def test_an_envelope_with_an_odd_number_is_no_success(number: str) -> None:
    found = answer(200, b'{"status":%s,"data":null}' % number.encode())
    assert isinstance(found, Refused | Unknown)


def test_an_envelope_keeps_its_data_as_it_came() -> None:
    found = read_answer(Response(200, json.dumps(envelope(data={"balance": 776.56}, extra=1)).encode()))
    assert isinstance(found, Envelope)
    assert (found.status, found.message, found.request_id, found.data) == (
        200000,
        "m",
        "req-1",
        {"balance": 776.56},
    )
