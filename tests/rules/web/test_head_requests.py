"""Which HEAD is run as the GET of its path: not of a stream, nor of a file, whose route answers HEAD unread."""

import pytest

from app.web.head_requests import _is_run_as_get


@pytest.mark.parametrize("path", ["/v1/tasks", "/readyz", "/v1/items/a/artifacts/stems/members", "/v1/items/a/b"])
def test_it_is_run_as_get(path: str) -> None:
    assert _is_run_as_get(path)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/stream",
        "/v1/items/a/artifacts/audio",
        "/v1/items/a/b/artifacts/audio",
        "/v1/items/a/artifacts/stems/members/drums/members",
        "/files/token/a.mp3",
    ],
)
def test_it_is_not(path: str) -> None:
    assert not _is_run_as_get(path)
