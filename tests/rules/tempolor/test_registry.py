"""The registry of kinds: every operation of the vendor's reference, with its path, its list and its limits."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from app.archive.download import forms_of
from app.tempolor.codes import ON_SUBMIT, SPOILS_BATCH, SUCCESS, UNDOCUMENTED, Remedy, on_submit
from app.tempolor.kinds import ACCOUNT_PATH, ARTIFACTS, FAMILIES, KINDS, QUERY_BATCH, family_of, overdue_default_s

API = "/open-apis/v1"
SONG = {"prompt": "slow folk, two guitars", "model": "tempolor-latest"}
EXTEND = {"item_id": "t2m_81f0", "start_time": 30}
SOURCE = {"url": "https://files.example/take-3.mp3"}
KNOWN = set(forms_of("a name that no file has"))
LEAST: dict[str, dict[str, Any]] = {
    "song.generate": SONG,
    "song.extend": EXTEND,
    "instrumental.generate": {"prompt": "90 bpm, C minor", "model": "TemPolor i4"},
    "instrumental.extend": EXTEND,
    "lyrics.generate": {"prompt": "a harbour at night"},
    "stems.create": SOURCE,
    "midi.create": SOURCE,
}


def valid(kind: str, **params: Any) -> dict[str, Any]:
    return KINDS[kind].params.model_validate(params).model_dump(exclude_unset=True)


def refused(kind: str, **params: Any) -> set[str]:
    with pytest.raises(ValidationError) as caught:
        valid(kind, **params)
    return {str(error["loc"][0]) for error in caught.value.errors()}


@pytest.mark.parametrize(
    ("kind", "path", "list_key", "overdue_s"),
    [
        ("song.generate", "/song/generate", "songs", 240),
        ("song.extend", "/song/extend", "songs", 240),
        ("instrumental.generate", "/instrumental/generate", "instrumentals", 180),
        ("instrumental.extend", "/instrumental/extend", "instrumentals", 180),
        ("lyrics.generate", "/lyrics/generate", "lyrics", 60),
        ("stems.create", "/stems", "stems", 240),
        ("midi.create", "/midi", "midis", 240),
    ],
)
def test_every_kind_of_the_reference_is_there(kind: str, path: str, list_key: str, overdue_s: int) -> None:
    entry = KINDS[kind]
    assert (entry.name, entry.path, entry.family.list_key) == (kind, API + path, list_key)
    assert entry.overdue_s == overdue_default_s(kind) == overdue_s


def test_there_is_no_other_kind() -> None:
    assert KINDS.keys() == LEAST.keys()
    assert FAMILIES.keys() == {"song", "instrumental", "lyrics", "stems", "midi"}


def test_queries_and_the_account_have_their_paths() -> None:
    assert [family.query_path for family in FAMILIES.values()] == [f"{API}/{name}/query" for name in FAMILIES]
    assert f"{API}/account/billing" == ACCOUNT_PATH
    assert QUERY_BATCH == 10


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_external_tasks_wait_as_long_as_their_family(family: str) -> None:
    assert FAMILIES[family].external_kind == f"{family}.external"
    assert family_of(f"{family}.external") == family
    waits = [kind.overdue_s for kind in KINDS.values() if kind.family.name == family]
    assert overdue_default_s(f"{family}.external") == max(waits)


@pytest.mark.parametrize(
    ("family", "required", "optional", "statuses"),
    [
        ("song", {"audio", "audio_hi"}, {"stream", "bgm"}, {"status", "audio_hi_status", "lyrics_sections_status"}),
        (
            "instrumental",
            {"audio", "audio_hi"},
            {"stream", "bgm"},
            {"status", "audio_hi_status", "lyrics_sections_status"},
        ),
        ("lyrics", set(), set(), {"status"}),
        ("stems", {"stems"}, set(), {"status"}),
        ("midi", {"midi"}, {"stems"}, {"status"}),
    ],
)
def test_each_family_has_its_artifacts_and_ordered_fields(
    family: str, required: set[str], optional: set[str], statuses: set[str]
) -> None:
    shape = FAMILIES[family].shape
    assert {one.name for one in shape.artifacts if one.required} == required
    assert {one.name for one in shape.artifacts if not one.required} == optional
    assert shape.status_fields == statuses
    assert (shape.sections_field is not None) == (family == "song")
    for artifact in shape.artifacts:
        assert artifact.lifetime == (timedelta(minutes=10) if artifact.name == "stream" else timedelta(days=3))


def test_the_archive_can_tell_what_each_file_that_lasts_may_be() -> None:
    for family in FAMILIES.values():
        for artifact in family.shape.artifacts:
            assert artifact.media_types == ARTIFACTS[artifact.name].media_types
            if artifact.lasts:
                assert artifact.media_types, artifact.name
                assert forms_of(artifact.name) == artifact.media_types
                unknown = set(artifact.media_types) - KNOWN
                assert not unknown, f"_FORMS in app/archive/download.py tells what {artifact.name} may be"


@pytest.mark.parametrize("kind", sorted(LEAST))
def test_the_required_fields_are_enough_and_each_is_needed(kind: str) -> None:
    assert valid(kind, **LEAST[kind]) == LEAST[kind]
    for missing in LEAST[kind]:
        assert refused(kind, **{name: value for name, value in LEAST[kind].items() if name != missing}) == {missing}


@pytest.mark.parametrize("kind", sorted(LEAST))
def test_unknown_fields_are_passed_on_as_they_are(kind: str) -> None:
    more = {"vibe": {"energy": 0.7}, "seed": 2**70, "tags": ["a", None]}
    assert valid(kind, **LEAST[kind], **more) == LEAST[kind] | more


@pytest.mark.parametrize("model", ["TemPolor i4", "tempolor-latest", "Mureka V9", "a model of next year"])
def test_models_are_never_checked_against_a_list(model: str) -> None:
    assert valid("song.generate", prompt="x", model=model)["model"] == model


@pytest.mark.parametrize("kind", ["song.generate", "instrumental.generate", "lyrics.generate"])
@pytest.mark.parametrize("prompt", ["", None, 5, ["x"]])
def test_a_prompt_is_a_text_that_says_something(kind: str, prompt: str | int | list[str] | None) -> None:
    assert refused(kind, **LEAST[kind] | {"prompt": prompt}) == {"prompt"}


def test_a_songs_prompt_has_at_most_1000_characters() -> None:
    assert valid("song.generate", **SONG | {"prompt": "ü" * 1000})
    assert refused("song.generate", **SONG | {"prompt": "x" * 1001}) == {"prompt"}


@pytest.mark.parametrize("kind", ["song.generate", "song.extend"])
def test_lyrics_have_at_most_3000_characters_and_may_be_empty(kind: str) -> None:
    for lyrics in ("", None, "la" * 1500):
        assert valid(kind, **LEAST[kind], lyrics=lyrics)["lyrics"] == lyrics
    assert refused(kind, **LEAST[kind], lyrics="x" * 3001) == {"lyrics"}


def test_the_extension_of_a_song_starts_between_10_and_600_seconds() -> None:
    for start in (10, 10.5, 600, 600.0):
        assert valid("song.extend", item_id="x", start_time=start)["start_time"] == start
    refusable: list[Any] = [9.99, 600.01, -1, 0, "30", True, None, float("nan"), float("inf"), 10**30]
    for odd in refusable:
        assert refused("song.extend", item_id="x", start_time=odd) == {"start_time"}


def test_the_extension_of_an_instrumental_starts_at_any_second() -> None:
    for start in (0, 9.99, 30, 601):
        assert valid("instrumental.extend", item_id="x", start_time=start)["start_time"] == start
    refusable: list[Any] = [-1, "30", True, None, float("nan")]
    for odd in refusable:
        assert refused("instrumental.extend", item_id="x", start_time=odd) == {"start_time"}


@pytest.mark.parametrize("kind", ["song.extend", "instrumental.extend"])
@pytest.mark.parametrize("item_id", ["", "x" * 201, 7, None])
def test_an_extension_names_an_item_by_its_text(kind: str, item_id: str | int | None) -> None:
    assert refused(kind, **EXTEND | {"item_id": item_id}) == {"item_id"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"instrumental": "yes"},
        {"instrumental": 1},
        {"voice_id": 13},
        {"action": False},
        {"style_negative": ["loud"]},
        {"upload_audio_url": "not a url"},
        {"upload_audio_url": "ftp://files.example/a.mp3"},
        {"model": ""},
        {"model": 4.5},
    ],
    ids=str,
)
def test_known_fields_of_a_song_have_their_types(wrong: dict[str, Any]) -> None:
    assert refused("song.generate", **SONG | wrong) == wrong.keys()


def test_a_cover_of_a_reference_track() -> None:
    cover = SONG | {
        "action": "upload_cover",
        "upload_audio_url": "https://files.example/ref.mp3?x=%2F",
        "instrumental": False,
    }
    assert valid("song.generate", **cover) == cover


@pytest.mark.parametrize("kind", ["stems.create", "midi.create"])
def test_audio_is_named_by_a_web_address_that_goes_to_the_vendor_as_it_came(kind: str) -> None:
    for url in ("http://files.example/a.mp3", "https://files.example:8443/A%20b.wav?sig=a%2Fb&y=#z"):
        assert valid(kind, url=url)["url"] == url
    refusable: list[Any] = [
        "",
        "files.example/a.mp3",
        "ftp://files.example/a",
        "file:///etc/passwd",
        "https://",
        "x" * 9000,
        5,
        None,
    ]
    for odd in refusable:
        assert refused(kind, url=odd) == {"url"}


def test_lyrics_may_name_no_song_model() -> None:
    assert valid("lyrics.generate", prompt="x", song_model=None) == {"prompt": "x", "song_model": None}


def test_every_documented_code_has_a_meaning_and_others_are_permanent() -> None:
    assert set(ON_SUBMIT) == set(range(400001, 400012))
    assert on_submit(400013) is on_submit(-1) is UNDOCUMENTED
    assert UNDOCUMENTED.remedy is Remedy.HOLD_MODEL
    assert SUCCESS not in ON_SUBMIT
    assert len({meaning.code for meaning in ON_SUBMIT.values()}) == len(ON_SUBMIT)


def test_what_is_permanent_is_not_advised_to_be_retried() -> None:
    for meaning in (*ON_SUBMIT.values(), UNDOCUMENTED):
        assert meaning.retryable == (meaning.remedy not in (Remedy.FAIL, Remedy.HOLD_MODEL))


def test_a_bad_id_can_spoil_a_batch_with_400008() -> None:
    assert 400008 in SPOILS_BATCH
    assert not SPOILS_BATCH & {400001, 400002, 400005, 400006, 400007, SUCCESS}
