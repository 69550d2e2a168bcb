"""The items of a question of which an answer says nothing: absent is unknown in a whole list alone."""

import pytest

from app.reconcile.ask import items_without_answer, observations_of
from app.reconcile.claims import ClaimedItem, Question
from app.rules.observation import Reading
from app.tempolor.answers import Answered, QueryAnswer, Spoiled, Unanswered
from app.tempolor.codes import NO_SUCH_WORK
from tests.rules.tasks.scene import after

SHOWN, ABSENT = ClaimedItem("song", "t2m_shown", 0), ClaimedItem("song", "t2m_absent", 0)
QUESTION = Question("song", (SHOWN, ABSENT), after(0), after(30))
READINGS = (Reading("t2m_shown", {"status": "running"}),)


@pytest.mark.parametrize(
    ("answer", "without_answer"),
    [
        (Answered(READINGS, {}, whole=True), ()),
        (Answered(READINGS, {}, whole=False), (ABSENT,)),
        (Answered((), {}, whole=False), (SHOWN, ABSENT)),
        (Unanswered("timeout"), (SHOWN, ABSENT)),
        (Spoiled(NO_SUCH_WORK, "no such work"), (SHOWN, ABSENT)),
    ],
    ids=["whole", "in part", "empty in part", "none", "spoiled"],
)
def test_of_what_is_absent_only_a_whole_answer_says_something(
    answer: QueryAnswer, without_answer: tuple[ClaimedItem, ...]
) -> None:
    assert items_without_answer(QUESTION, observations_of(QUESTION, answer)) == without_answer
