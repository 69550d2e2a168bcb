"""Whatever the vendor answers: sorted without an exception, never taken twice, and never a success by guess."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from app.tempolor import codes
from app.tempolor.answers import (
    Accepted,
    Answered,
    Refused,
    Response,
    Spoiled,
    Unanswered,
    Unknown,
    read_query_answer,
    read_submit_answer,
    result_of,
)
from app.tempolor.kinds import FAMILIES, Family

families = st.sampled_from(list(FAMILIES.values()))
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
business_codes = st.sampled_from([*codes.ON_SUBMIT, codes.SUCCESS, 0, 200, "200000", None]) | anything
item_ids = st.lists(st.sampled_from(["t2m_1", "", 7, "x" * 300, None, True, 10**400]) | anything, max_size=4) | anything
envelopes = st.builds(
    lambda status, message, data, more: {"status": status, "message": message, "data": data, **more},
    business_codes,
    anything,
    st.fixed_dictionaries({}, optional={"item_ids": item_ids, "songs": anything, "works": anything}) | anything,
    st.dictionaries(st.sampled_from(["request_id", "code", "x"]), anything, max_size=2),
)
documents = (envelopes | anything).map(lambda value: json.dumps(value).encode())
contents = documents | st.binary(max_size=40)
http_statuses = st.sampled_from(
    [200, 201, 204, 301, 400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504, 599, 299, 999]
)
retry_afters = st.none() | st.floats(0, 1e9)


def is_text(value: object) -> bool:
    """Both databases and any log take it."""
    return isinstance(value, str) and value.encode() is not None and "\x00" not in value


@given(http_statuses, contents, retry_afters)
@example(500, b'{"status": 400001, "message": "no", "data": {}}', None)
@example(200, b'{"status": 200000, "message": "ok", "data": {"item_ids": []}}', None)
@example(400, b'{"status": 200000, "message": "ok", "data": {"item_ids": ["t2m_1"]}}', None)
def test_any_answer_to_a_submission_is_sorted(http_status: int, content: bytes, retry_after_s: float | None) -> None:
    answer = read_submit_answer(Response(http_status, content, retry_after_s))
    assert isinstance(answer, (Accepted, Refused, Unknown))
    assert len(result_of(answer)) <= 40
    if isinstance(answer, Accepted):
        assert answer.item_ids
        assert all(1 <= len(one) <= 200 and is_text(one) for one in answer.item_ids)
        assert len(set(answer.item_ids)) == len(answer.item_ids)
    elif isinstance(answer, Refused):
        # A refusal lets it be sent again: only where it was certainly not taken.
        assert http_status < 300 or (400 <= http_status < 500 and http_status not in (408, 499))
        assert is_text(answer.message)
        assert answer.request_id is None or is_text(answer.request_id)


@given(http_statuses, contents, retry_afters, families)
def test_any_answer_to_a_query_is_sorted(
    http_status: int, content: bytes, retry_after_s: float | None, family: Family
) -> None:
    answer = read_query_answer(Response(http_status, content, retry_after_s), family)
    assert isinstance(answer, (Answered, Spoiled, Unanswered))
    assert len(result_of(answer)) <= 40
    if http_status >= 300:
        # That items are unknown to the vendor is not concluded from an error, but from a code that comes with it.
        assert isinstance(answer, Unanswered) or (isinstance(answer, Spoiled) and 400 <= http_status < 500)
