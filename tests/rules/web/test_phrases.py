"""Titles of problems: the phrases of HTTP statuses, the same on each Python."""

import pytest

from app.web.problems import CODES, phrase_of


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (404, "Not Found"),
        (413, "Content Too Large"),
        (414, "URI Too Long"),
        (416, "Range Not Satisfiable"),
        (422, "Unprocessable Content"),
        (503, "Service Unavailable"),
    ],
)
def test_phrases_are_those_of_rfc_9110(status: int, phrase: str) -> None:
    assert phrase_of(status) == phrase


def test_each_status_of_a_problem_has_a_phrase() -> None:
    assert all(phrase_of(status) for status in CODES.values())
