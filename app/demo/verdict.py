"""The end of the demo: whether all went as it should, and how each fault was overcome."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from app.demo.evidence import Evidence
from app.demo.history import arrival, first
from app.demo.story import EARLY_CALLBACK, LOST_ANSWER, LOST_CALLBACK

Telling = tuple[str, list[str]]
"""How a fault was overcome, and what was not as it should be."""


def faults_in(all_evidence: Iterable[Evidence]) -> list[str]:
    """What is wrong, one line each; nothing if all ended as it should."""
    wrong: list[str] = []
    for one in all_evidence:
        wrong += [f"{one.part.kind}: {line}" for line in _faults_of_task(one)]
        if one.part.fault is not None:
            wrong += [f"{one.part.kind}, {one.part.fault}: {line}" for line in _TELL[one.part.fault](one)[1]]
    return wrong


def summary(all_evidence: Sequence[Evidence]) -> list[str]:
    """How each fault was overcome, then the vendor's own count of everything."""
    lines = [
        f"{one.part.fault}, {one.part.kind}: {_TELL[one.part.fault](one)[0]}"
        for one in all_evidence
        if one.part.fault is not None
    ]
    submissions = sum(len(one.submissions) for one in all_evidence)
    works = sum(len(one.works) for one in all_evidence)
    made = [callback for one in all_evidence for callback in one.callbacks]
    acknowledged = sum(callback["acknowledged"] for callback in made)
    lost = sum(len(one.dropped) for one in all_evidence)
    queries = {call["number"] for one in all_evidence for call in one.queries}
    lines.append(
        f"the vendor's count: {submissions} submissions received, {works} taken; {len(made)} callbacks sent, "
        f"{acknowledged} acknowledged, {lost} lost; {len(queries)} {_plural('query', len(queries))} received"
    )
    return lines


def _faults_of_task(one: Evidence) -> list[str]:
    wrong = []
    if one.task["status"] != "succeeded":
        error = one.task["error"]
        wrong.append(f"it is {one.task['status']}, not succeeded{': ' + error['message'] if error else ''}")
    if len(one.submissions) != 1 or len(one.works) != 1:
        wrong.append(f"the vendor received {len(one.submissions)} submissions and took {len(one.works)}, not 1")
    refused = [callback for callback in one.callbacks if not callback["acknowledged"]]
    if refused:
        wrong.append(f"{len(refused)} callbacks were not acknowledged")
    unready = [
        name for item in one.task["items"] for name, file in item["artifacts"].items() if file["status"] != "ready"
    ]
    if unready:
        wrong.append(f"not ready: {', '.join(unready)}")
    return wrong


def _lost_callback(one: Evidence) -> Telling:
    wrong = []
    if not one.dropped:
        wrong.append("the vendor lost no callback")
    if first(one.steps, "callback") is not None:
        wrong.append("a callback arrived")
    done = arrival(one.steps, "succeeded")
    if done is None or done.type != "query" or not one.queries:
        wrong.append("it was not a query that finished it")
    at_s = f"{done.at_s:.1f} s" if done else "never"
    queries = len(one.queries)
    return f"nobody called back; {queries} {_plural('query', queries)} brought the result after {at_s}", wrong


def _early_callback(one: Evidence) -> Telling:
    called, submitted = first(one.steps, "callback"), first(one.steps, "submitted")
    if called is None or submitted is None:
        return "did not happen", ["there was no callback, or no answer to the submission"]
    ahead_s = submitted.at_s - called.at_s
    wrong = [] if one.steps.index(called) < one.steps.index(submitted) else ["the answer came first"]
    return f"{' '.join(called.events)} found its task {ahead_s:.1f} s before the submission was answered", wrong


def _lost_answer(one: Evidence) -> Telling:
    wrong = []
    if not any(call["fault"] == "reset" for call in one.submissions):
        wrong.append("the vendor answered")
    if first(one.steps, "submitted") is not None:
        wrong.append("the gateway got an answer")
    lost = arrival(one.steps, "unconfirmed")
    settled = next((step for step in one.steps if step.moved is not None and step.moved[0] == "unconfirmed"), None)
    if lost is None or settled is None or settled.type != "callback":
        return "did not happen", [*wrong, "the task was not unconfirmed until a callback settled it"]
    waited_s = settled.at_s - lost.at_s
    return f"the connection broke; unconfirmed for {waited_s:.1f} s, settled by its callback, not sent again", wrong


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word.removesuffix('y')}ies"


_TELL: Final[dict[str, Callable[[Evidence], Telling]]] = {
    LOST_CALLBACK: _lost_callback,
    EARLY_CALLBACK: _early_callback,
    LOST_ANSWER: _lost_answer,
}
