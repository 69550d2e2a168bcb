"""Which model is sent in place of which, and how many refusals hold one."""

import pytest

from tests.rules.settings.conftest import Faults, Load


@pytest.mark.parametrize(
    ("text", "aliases"),
    [
        ("", {}),
        ("TemPolor v4.5=tempolor-latest", {"TemPolor v4.5": "tempolor-latest"}),
        (" a = b ,\n c=d , ", {"a": "b", "c": "d"}),
        ("a=b,b=a", {"a": "b", "b": "a"}),
        ("a=b=c", {"a": "b=c"}),
        ("模型一=tempolor-latest", {"模型一": "tempolor-latest"}),
    ],
)
def test_aliases_are_pairs(load: Load, text: str, aliases: dict[str, str]) -> None:
    assert load(GATEWAY_MODEL_ALIASES=text).policy().model_aliases == aliases


@pytest.mark.parametrize("text", ["a", "=b", "a=", " = b", "a=b,c", "=", "a=b,=c"])
def test_an_alias_that_is_no_pair_is_refused(faults: Faults, text: str) -> None:
    assert faults(GATEWAY_MODEL_ALIASES=text) == [
        "GATEWAY_MODEL_ALIASES: it must be a comma-separated list of pairs, as in old=new"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a=b,a=c", "a model is named twice on the left"),
        ("a=b, a =b", "a model is named twice on the left"),
        ("a=a", "a model cannot stand in for itself"),
        ('"a=b"', "it is in quotes: write the value without them"),
        ("a=b\nc", "it has a control character, or another that is not printable, inside"),
    ],
)
def test_what_is_wrong_with_an_alias_is_told(faults: Faults, text: str, told: str) -> None:
    assert faults(GATEWAY_MODEL_ALIASES=text) == [f"GATEWAY_MODEL_ALIASES: {told}"]


def test_refusals_to_hold(load: Load, faults: Faults) -> None:
    assert load().policy().refusals_to_hold == 3
    assert load(GATEWAY_SUBMIT_REFUSALS_TO_HOLD="1").policy().refusals_to_hold == 1
    for wrong in ("0", "-1", "2.5", "x"):
        assert len(faults(GATEWAY_SUBMIT_REFUSALS_TO_HOLD=wrong)) == 1
