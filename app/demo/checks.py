"""The checks at the end of the demo: whether every task ended as it should, and how each fault was overcome."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx

from tempolor_gateway_client import AsyncGatewayClient, Task, TimelineEntry

LOST_CALLBACK: Final = "lost callback"
EARLY_CALLBACK: Final = "early callback"
LOST_ANSWER: Final = "lost answer"

Document = dict[str, Any]


@dataclass(slots=True)
class Step:
    """One thing that happened, ``at_s`` seconds after the first; ``before`` and ``after`` are statuses, empty if the
    status stayed."""

    at_s: float
    type: str
    events: Sequence[str] = ()
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        what = " ".join([self.type.replace("_", " "), *self.events])
        return f"{self.at_s:.2f} {what}" + (f" → {self.after}" if self.after not in ("", self.type) else "")


@dataclass(frozen=True, slots=True)
class Evidence:
    """``task`` and ``steps`` are what the gateway says. ``submissions`` and ``queries`` are calls that the vendor
    received, ``works`` what it took, ``callbacks`` what it tried to deliver, ``dropped`` the events that it did not."""

    kind: str
    fault: str | None
    task: Document
    steps: list[Step]
    works: list[Document]
    submissions: list[Document]
    queries: list[Document]
    callbacks: list[Document]

    @property
    def dropped(self) -> list[str]:
        return [event for work in self.works for item in work["items"] for event in item["dropped"]]


async def gather(
    gateway: AsyncGatewayClient, sandbox: httpx.AsyncClient, tasks: Iterable[Task], faults: Mapping[str, str]
) -> list[Evidence]:
    """The evidence of each task, from the gateway and from the sandbox's control API. ``faults``: by kind."""
    works, calls, callbacks = [
        (await sandbox.get(name)).raise_for_status().json()["data"] for name in ("works", "calls", "callbacks")
    ]
    evidence = []
    for task in tasks:
        own = [work for work in works if work["kind"] == task.kind]
        item_ids = {item_id for work in own for item_id in work["item_ids"]}
        evidence.append(
            Evidence(
                task.kind,
                faults.get(task.kind),
                task.raw,
                read_steps(await gateway.timeline(task.id)),
                own,
                [call for call in calls if call["operation"] == "submit" and call["kind"] == task.kind],
                [call for call in calls if call["operation"] == "query" and item_ids & set(call["item_ids"])],
                [callback for callback in callbacks if callback["item_id"] in item_ids],
            )
        )
    return evidence


def read_steps(timeline: Sequence[TimelineEntry]) -> list[Step]:
    """The steps of a timeline, in order; what happened together is one step."""
    steps: dict[int, Step] = {}
    for entry in timeline:
        step = steps.setdefault(entry.seq, Step((entry.at - timeline[0].at).total_seconds(), entry.type))
        if entry.type == "status":
            step.before, step.after = entry.detail["from"], entry.detail["to"]
        else:
            step.events = [item["event"] for item in entry.detail.get("items", ()) if item.get("event")]
    return list(steps.values())


def failures(evidence: Iterable[Evidence]) -> list[str]:
    """What is wrong, one line each; nothing if all ended as it should."""
    wrong: list[str] = []
    for one in evidence:
        wrong += [f"{one.kind}: {line}" for line in _failures_of_task(one)]
        if one.fault:
            wrong += [f"{one.kind}, {one.fault}: {line}" for line in _CHECKS[one.fault](one)[1]]
    return wrong


def summary(evidence: Sequence[Evidence]) -> list[str]:
    """How each fault was overcome, then the vendor's own count of everything."""
    lines = [f"{one.fault}, {one.kind}: {_CHECKS[one.fault](one)[0]}" for one in evidence if one.fault]
    submissions = sum(len(one.submissions) for one in evidence)
    works = sum(len(one.works) for one in evidence)
    callbacks = [callback for one in evidence for callback in one.callbacks]
    acknowledged = sum(callback["acknowledged"] for callback in callbacks)
    lost = sum(len(one.dropped) for one in evidence)
    # One query can ask about several tasks.
    queries = {call["number"] for one in evidence for call in one.queries}
    return [
        *lines,
        f"the vendor's count: {submissions} submissions received, {works} taken; {len(callbacks)} callbacks sent, "
        f"{acknowledged} acknowledged, {lost} lost; {_queries(len(queries))} received",
    ]


def _failures_of_task(one: Evidence) -> list[str]:
    wrong = []
    if one.task["status"] != "succeeded":
        error = one.task["error"]
        wrong.append(f"it is {one.task['status']}, not succeeded{': ' + error['message'] if error else ''}")
    if len(one.submissions) != 1 or len(one.works) != 1:
        wrong.append(f"the vendor received {len(one.submissions)} submissions and took {len(one.works)}, not 1")
    refused = sum(not callback["acknowledged"] for callback in one.callbacks)
    if refused:
        wrong.append(f"{refused} callbacks were not acknowledged")
    files = [named for item in one.task["items"] for named in item["artifacts"].items()]
    unready = [name for name, file in files if file["status"] != "ready"]
    if unready:
        wrong.append(f"not ready: {', '.join(unready)}")
    return wrong


def _lost_callback(one: Evidence) -> tuple[str, list[str]]:
    wrong = []
    if not one.dropped:
        wrong.append("the vendor lost no callback")
    if _first(one.steps, type="callback"):
        wrong.append("a callback arrived")
    done = _first(one.steps, after="succeeded")
    if done is None or done.type != "query" or not one.queries:
        wrong.append("it was not a query that finished it")
    at_s = f"{done.at_s:.1f} s" if done else "never"
    return f"nobody called back; {_queries(len(one.queries))} brought the result after {at_s}", wrong


def _early_callback(one: Evidence) -> tuple[str, list[str]]:
    called, submitted = _first(one.steps, type="callback"), _first(one.steps, type="submitted")
    if called is None or submitted is None:
        return "did not happen", ["there was no callback, or no answer to the submission"]
    ahead_s = submitted.at_s - called.at_s
    wrong = [] if one.steps.index(called) < one.steps.index(submitted) else ["the answer came first"]
    return f"{' '.join(called.events)} found its task {ahead_s:.1f} s before the submission was answered", wrong


def _lost_answer(one: Evidence) -> tuple[str, list[str]]:
    wrong = []
    if not any(call["fault"] == "reset" for call in one.submissions):
        wrong.append("the vendor answered")
    if _first(one.steps, type="submitted"):
        wrong.append("the gateway got an answer")
    lost, settled = _first(one.steps, after="unconfirmed"), _first(one.steps, before="unconfirmed")
    if lost is None or settled is None or settled.type != "callback":
        return "did not happen", [*wrong, "the task was not unconfirmed until a callback settled it"]
    waited_s = settled.at_s - lost.at_s
    return f"the connection broke; unconfirmed for {waited_s:.1f} s, settled by its callback, not sent again", wrong


_CHECKS: Final[dict[str, Callable[[Evidence], tuple[str, list[str]]]]] = {
    LOST_CALLBACK: _lost_callback,
    EARLY_CALLBACK: _early_callback,
    LOST_ANSWER: _lost_answer,
}
"""For each fault: how it was overcome, and what is not as it should be."""


def _first(steps: Iterable[Step], **wanted: str) -> Step | None:
    return next((step for step in steps if all(getattr(step, name) == value for name, value in wanted.items())), None)


def _queries(count: int) -> str:
    return f"{count} {'query' if count == 1 else 'queries'}"
