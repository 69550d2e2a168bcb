"""Script a sandbox by rules: what single calls answer, and how single works go. Rules are used up in order."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from app.sandbox.config import Chance, Excess, Form, Garbage, Outcome, Seconds, Strict
from app.tempolor.kinds import family_of

Operation = Literal["submit", "query", "account"]
Times = Annotated[int | None, Field(ge=1, description="how often it applies; null: always")]

_Rule = TypeVar("_Rule")


class Answer(Strict):
    """What a call gets instead of the usual answer. Seconds are real."""

    status: int | None = Field(None, description="business code in the envelope")
    message: str | None = Field(None, description="its {key} and {callback_url} are filled in, as an echo of the call")
    request_id: str | None = Field(None, description="as message")
    http_status: int | None = Field(None, ge=200, le=599)
    retry_after_s: int | None = Field(None, ge=0)
    garbage: Garbage | None = None
    form: Form | None = Field(None, description="the usual content in another form")
    excess: Excess | None = Field(None, description="the usual content, and far too much with it")
    delay_s: Seconds = 0
    reset: bool = False
    hang_s: Seconds | None = Field(None, description="no answer; the connection is reset after so long")
    accept: bool | None = Field(
        None, description="whether a submission is taken; default: unless the answer is a refusal or an HTTP error"
    )

    @property
    def accepts(self) -> bool:
        """Whether a submission that gets this answer becomes a work."""
        if self.accept is not None:
            return self.accept
        return not self._refuses

    @property
    def shows_content(self) -> bool:
        """Whether the usual content of an answer goes over the wire, as a whole or in part."""
        silent = self.reset or self.hang_s is not None or self.garbage not in (None, "truncated")
        return not silent and not self._refuses

    @property
    def _refuses(self) -> bool:
        return self.status not in (None, 200000) or (self.http_status or 200) >= 400


class AnswerRule(Answer):
    """An answer for the next ``times`` calls that match."""

    operation: Operation
    kind: str | None = Field(None, description="a kind (song.generate) or a family (song)")
    prompt: str | None = Field(None, description="part of the prompt, or of the url, of a submission")
    item_id: str | None = Field(None, description="an id that a query names")
    times: Times = 1


class WorkRule(Strict):
    """How the next ``times`` works that match go. What is not given is left to habits and chance.

    Callbacks are named by their event, those without one ``complete``; ``*`` names all of a work.
    """

    kind: str | None = None
    prompt: str | None = None
    n: int | None = Field(None, description="number of the submission, from 1")
    times: Times = 1

    items: int | None = Field(None, ge=1, le=100)
    outcome: Outcome | None = None
    err_msg: str | None = None
    drop: tuple[str, ...] | None = None
    double: tuple[str, ...] | None = None
    early: tuple[str, ...] | None = None
    delay_s: dict[str, Seconds] | None = Field(None, description="event → vendor seconds")
    order: tuple[str, ...] | None = Field(None, description="events in the order in which they are sent")
    odd_status: str | None = None
    odd_event: str | None = None
    odd_fields: bool | None = None
    sparse_final: bool | None = None
    null_fields: Chance | None = None
    milliseconds: bool | None = None
    enveloped: bool | None = None
    sections_in_ms: bool | None = None
    instrumental_sections: bool | None = None
    waiting_sections: bool | None = None
    bgm: bool | None = None
    dead_input: bool | None = None
    echo: bool | None = Field(None, description="its texts repeat the key and the callback URL")


class Pending(Strict):
    """Rules that are not used up; also the body that adds some."""

    answers: tuple[AnswerRule, ...] = ()
    works: tuple[WorkRule, ...] = ()


class Script:
    """The rules that are not used up yet."""

    def __init__(self) -> None:
        self._answers: list[tuple[AnswerRule, int | None]] = []
        self._works: list[tuple[WorkRule, int | None]] = []

    def add(self, rules: Pending) -> None:
        """Append rules behind those that wait."""
        self._answers += [(rule, rule.times) for rule in rules.answers]
        self._works += [(rule, rule.times) for rule in rules.works]

    def pending(self) -> Pending:
        """What is left, with the remaining times."""
        return Pending(
            answers=tuple(rule.model_copy(update={"times": left}) for rule, left in self._answers),
            works=tuple(rule.model_copy(update={"times": left}) for rule, left in self._works),
        )

    def answer(
        self, operation: Operation, kind: str, params: dict[str, Any], item_ids: Iterable[str] = ()
    ) -> Answer | None:
        """Use the first rule that matches a call."""
        queried = set(item_ids)
        for place, (rule, _) in enumerate(self._answers):
            if (
                rule.operation == operation
                and _same_kind(rule.kind, kind)
                and _in_prompt(rule.prompt, params)
                and (rule.item_id is None or rule.item_id in queried)
            ):
                _use(self._answers, place)
                return rule
        return None

    def work(self, n: int, kind: str, params: dict[str, Any]) -> WorkRule:
        """Use the first rule that matches a submission; an empty rule if none does."""
        for place, (rule, _) in enumerate(self._works):
            if rule.n in (None, n) and _same_kind(rule.kind, kind) and _in_prompt(rule.prompt, params):
                _use(self._works, place)
                return rule
        return WorkRule()


def _use(rules: list[tuple[_Rule, int | None]], place: int) -> None:
    rule, left = rules[place]
    if left == 1:
        del rules[place]
    elif left is not None:
        rules[place] = (rule, left - 1)


def _same_kind(wanted: str | None, kind: str) -> bool:
    return wanted is None or wanted in (kind, family_of(kind))


def _in_prompt(part: str | None, params: dict[str, Any]) -> bool:
    return part is None or any(part in str(params.get(name, "")) for name in ("prompt", "url"))
