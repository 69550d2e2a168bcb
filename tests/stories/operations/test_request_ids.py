"""The id of a request: the caller's if it is sane, in the answer and in problems."""

import re

from tests.support.databases import on_sqlite
from tests.support.gateway import Running

MADE = re.compile(r"[0-9a-f]{32}")


@on_sqlite
async def test_a_sane_id_is_taken_over(gateway: Running) -> None:
    for path, status in (("/healthz", 200), ("/v1/tasks", 200), ("/v1/nothing", 404)):
        answer = await gateway.api.get(path, headers={"X-Request-ID": "order-17/a:b=c"})
        assert (answer.status_code, answer.headers["x-request-id"]) == (status, "order-17/a:b=c"), path
        assert status == 200 or answer.json()["request_id"] == "order-17/a:b=c"


@on_sqlite
async def test_any_other_is_replaced(gateway: Running) -> None:
    for given in ("", "two words", "a" * 101, 'quo"te', "<script>", "\xe9"):
        headers = [(b"X-Request-ID", given.encode("latin-1")), (b"Authorization", b"Bearer nobody-has-this")]
        answers = [await gateway.api.get("/v1/tasks", headers=headers) for _ in range(2)]
        ids = [answer.headers["x-request-id"] for answer in answers]
        assert all(MADE.fullmatch(one) for one in ids), given
        assert ids[0] != ids[1], given
        assert [answer.json()["request_id"] for answer in answers] == ids, given
