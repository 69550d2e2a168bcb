"""Callback tokens: one text binds one task (or nobody) and one family, and nothing else passes (G7)."""

import base64
import hmac
import string
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tempolor.callback_tokens import Token, Tokens, callback_url
from app.tempolor.kinds import FAMILIES

FIRST, SECOND, OTHER = "first-" + "a" * 32, "second-" + "b" * 32, "other-" + "c" * 32
TASK = UUID("01920000-0000-7000-8000-000000000001")
TOKENS = Tokens([FIRST])
GOOD = TOKENS.sign("song", TASK)
URL_SAFE = string.ascii_letters + string.digits + "-_"


@given(st.uuids(), st.sampled_from(sorted(FAMILIES)))
def test_a_token_verifies_for_its_family_and_names_its_task(task_id: UUID, family: str) -> None:
    text = TOKENS.sign(family, task_id)
    assert TOKENS.verify(family, text) == Token(family, task_id)
    assert len(text) == 52
    assert set(text) <= set(URL_SAFE)
    assert TOKENS.sign(family, task_id) == text


def test_the_unbound_token_names_nobody() -> None:
    text = TOKENS.sign("song", None)
    assert TOKENS.verify("song", text) == Token("song", None)
    assert text != GOOD


@pytest.mark.parametrize("family", [*sorted(FAMILIES.keys() - {"song"}), "", "SONG", "song\x00", "nothing"])
@pytest.mark.parametrize("task_id", [TASK, None], ids=["bound", "unbound"])
def test_a_token_is_no_good_for_another_family(family: str, task_id: UUID | None) -> None:
    assert TOKENS.verify(family, TOKENS.sign("song", task_id)) is None


def test_a_token_that_was_found_good_is_good_for_nothing_more() -> None:
    tokens = Tokens([FIRST])
    for _ in range(2):
        assert tokens.verify("song", GOOD) == Token("song", TASK)
        assert tokens.verify("lyrics", GOOD) is None
        assert tokens.verify("song", GOOD[:-1] + ("A" if GOOD[-1] != "A" else "B")) is None


def test_what_is_remembered_of_tokens_is_bounded_and_holds_no_forgeries() -> None:
    tokens = Tokens([FIRST], most_verified=8)
    forged = Tokens([OTHER])
    for n in range(1, 50):
        assert tokens.verify("song", tokens.sign("song", UUID(int=n))) == Token("song", UUID(int=n))
        assert tokens.verify("song", forged.sign("song", UUID(int=n))) is None
        assert len(tokens.verified) <= 8
    assert len(tokens.verified) > 0
    before = len(tokens.verified)
    for n in range(1, 50):
        assert tokens.verify("song", forged.sign("song", UUID(int=n))) is None
    assert len(tokens.verified) == before


def test_the_first_secret_signs_and_all_verify() -> None:
    old, rotated = Tokens([SECOND]), Tokens([FIRST, SECOND])
    assert rotated.sign("song", TASK) == GOOD
    assert rotated.verify("song", old.sign("song", TASK)) == Token("song", TASK)
    assert old.verify("song", rotated.sign("song", TASK)) is None
    assert rotated.signing_key_id == TOKENS.signing_key_id
    assert rotated.key_ids == TOKENS.key_ids | old.key_ids


def test_a_secret_taken_away_verifies_no_more() -> None:
    assert Tokens([SECOND]).verify("song", GOOD) is None
    assert TOKENS.signing_key_id not in Tokens([SECOND]).key_ids


def test_a_forger_without_a_secret_of_ours_gets_nowhere() -> None:
    assert TOKENS.verify("song", Tokens([OTHER]).sign("song", TASK)) is None


def test_a_swapped_task_is_refused() -> None:
    theirs = base64.urlsafe_b64decode(TOKENS.sign("song", UUID(int=TASK.int + 1)))
    ours = base64.urlsafe_b64decode(GOOD)
    for mixed in (ours[:19] + theirs[19:], theirs[:19] + ours[19:]):
        assert TOKENS.verify("song", base64.urlsafe_b64encode(mixed).decode()) is None


def test_a_bound_token_cannot_be_made_unbound() -> None:
    raw = base64.urlsafe_b64decode(GOOD)
    assert TOKENS.verify("song", base64.urlsafe_b64encode(raw[:3] + bytes(16) + raw[19:]).decode()) is None


def test_a_key_id_of_another_secret_is_refused() -> None:
    rotated = Tokens([FIRST, SECOND])
    raw = base64.urlsafe_b64decode(GOOD)
    other = base64.urlsafe_b64decode(Tokens([SECOND]).sign("song", TASK))
    assert rotated.verify("song", base64.urlsafe_b64encode(other[:3] + raw[3:]).decode()) is None


def test_a_token_of_an_unknown_secret_costs_what_any_other_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who tries key ids learns nothing from the time that it takes: the same is computed and compared."""
    steps: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        genuine = getattr(hmac, name)

        def step(*given: Any) -> Any:
            steps.append(name)
            return genuine(*given)

        return step

    for name in ("digest", "compare_digest"):
        monkeypatch.setattr(hmac, name, noted(name))
    raw = base64.urlsafe_b64decode(GOOD)
    unknown = base64.urlsafe_b64encode(bytes(3) + raw[3:]).decode()
    forged = base64.urlsafe_b64encode(raw[:-1] + bytes([raw[-1] ^ 1])).decode()
    for text, valid in ((GOOD, True), (unknown, False), (forged, False)):
        steps.clear()
        assert (TOKENS.verify("song", text) is not None) is valid
        assert steps == ["digest", "compare_digest"]


def test_any_flipped_bit_is_refused() -> None:
    for bit in range(39 * 8):
        raw = bytearray(base64.urlsafe_b64decode(GOOD))
        raw[bit // 8] ^= 1 << bit % 8
        assert TOKENS.verify("song", base64.urlsafe_b64encode(raw).decode()) is None, bit


def test_any_truncation_is_refused() -> None:
    for length in range(52):
        assert TOKENS.verify("song", GOOD[:length]) is None, length
        assert TOKENS.verify("song", GOOD[:length] + "=" * (52 - length)) is None, length


def tokens_with_both_special_characters() -> str:
    """A token whose text has both characters that another base64 alphabet spells differently."""
    texts = (TOKENS.sign("song", UUID(int=n)) for n in range(1, 2000))
    return next(text for text in texts if "-" in text and "_" in text)


def test_another_spelling_of_the_same_bytes_is_refused() -> None:
    text = tokens_with_both_special_characters()
    assert TOKENS.verify("song", text) is not None
    spellings = {
        text.replace("-", "+"),
        text.replace("_", "/"),
        text.replace("-", "+").replace("_", "/"),
        text + "=",
        text + "==",
        text + "\n",
        " " + text,
        text[:26] + "\n" + text[26:],
        text[:51] + "%" + hex(ord(text[51]))[2:],
    }
    for other in spellings:
        assert TOKENS.verify("song", other) is None


@pytest.mark.parametrize("place", [0, 25, 51])
@pytest.mark.parametrize("char", ["é", "\u0430", "\x00", "🎵", "\ud800", "=", ".", " ", "+"])
def test_odd_characters_are_refused_and_do_not_raise(place: int, char: str) -> None:
    assert TOKENS.verify("song", GOOD[:place] + char + GOOD[place + 1 :]) is None


@given(st.text(st.characters(codec=None), max_size=60) | st.text(URL_SAFE, min_size=52, max_size=52))
def test_no_other_text_verifies(text: str) -> None:
    assert TOKENS.verify("song", text) is None


def test_case_matters() -> None:
    assert TOKENS.verify("song", GOOD.swapcase()) is None


def test_tokens_need_a_secret() -> None:
    with pytest.raises(ValueError, match="secret"):
        Tokens([])


def test_a_callback_url_is_made_of_its_parts() -> None:
    assert callback_url("https://gw.example/base/", "song", "tok") == "https://gw.example/base/callbacks/song/tok"
