"""What the vendor might say, at random: few enough words that observations meet in the same fields."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from app.rules.observation import NamedBy, Observation, Reading, Source
from app.rules.status import ItemStatus, SubStatus
from tests.rules.tasks.scene import us

DEEP = settings(max_examples=3000, deadline=None)

ODD_STATUSES = ("pending", "processing", "cancelled", "zz_done", "", "Succeeded", "🎵")
URLS = (
    *(f"https://cdn.example/{name}?auth_key={n}" for name in "ab" for n in (1, 2, 3)),
    '["https://cdn.example/1.flac","https://cdn.example/2.flac"]',
)

item_statuses = st.sampled_from([*(one.value for one in ItemStatus), *ODD_STATUSES])
sub_statuses = st.sampled_from([*(one.value for one in SubStatus), *ODD_STATUSES])

small_values = st.one_of(
    st.sampled_from(
        ["Harbour Lights", "Neon Drive", "0", 0, 0.0, -0.0, 1, 1.0, True, False, 1e16, 10**30, [0], {"a": 1}]
    ),
    st.text(max_size=3).filter(bool),
    st.integers(-3, 3),
    st.floats(allow_nan=False, allow_infinity=False),
)
large_values = st.sampled_from(["x" * 511, "x" * 510, "la la " * 100, ["line"] * 200, {"k": "v" * 600}, "ü" * 300])
values = st.one_of(small_values, large_values)
value_fields = st.sampled_from(
    ["title", "style", "duration", "?duration", "lyrics", "?lyrics", "lyrics_sections", "unheard_of"]
)
events = st.sampled_from(["audio_chunk", "audio_complete", "wav_complete", "lrcsections_complete", "", "odd"])
# Few different seconds, so that equal times are common.
seconds = st.integers(-3, 12).map(float) | st.sampled_from([-5000.0, 700.0, 2000.0])


# Each strategy is made once: to make and check one takes longer than to draw from it.
_main_status = st.dictionaries(st.just("status"), item_statuses, max_size=1)
_file_statuses = st.dictionaries(st.sampled_from(["audio_hi_status", "lyrics_sections_status"]), sub_statuses)
_urls = st.dictionaries(
    st.sampled_from(["audio_url", "audio_hi_url", "stream_url", "streamAudioUrl"]), st.sampled_from(URLS)
)
_fields = st.dictionaries(value_fields, values, max_size=4)
_event = st.none() | events
_one_in_eight = st.integers(0, 7)


def _reading(draw: st.DrawFn, item_id: str) -> Reading:
    statuses = draw(_main_status) | draw(_file_statuses)
    urls: dict[str, Any] = draw(_urls)
    fields: dict[str, Any] = draw(_fields)
    return Reading(item_id, statuses, urls, fields, draw(_event))


@st.composite
def readings(draw: st.DrawFn, item_id: str = "i1") -> Reading:
    return _reading(draw, item_id)


@st.composite
def observations(draw: st.DrawFn, item_ids: tuple[str, ...] = ("i1",)) -> Observation:
    """A callback, or a query's answer that shows or denies the item."""
    item_id = draw(st.sampled_from(item_ids))
    at = us(draw(seconds))
    if draw(_one_in_eight) == 0:
        return Observation("song", Reading(item_id), Source.QUERY, at, sighted=False, unknown=True)
    reading = _reading(draw, item_id)
    if draw(st.booleans()):
        return Observation("song", reading, Source.CALLBACK, at, NamedBy.BOUND_TOKEN)
    return Observation("song", reading, Source.QUERY, at)


@st.composite
def shuffled_with_repeats(draw: st.DrawFn, sets: st.SearchStrategy[list[Any]]) -> tuple[list[Any], list[Any]]:
    """A list, and the same things in another order with repeats: as the vendor delivers them."""
    first = draw(sets)
    again = draw(st.lists(st.sampled_from(first), max_size=6)) if first else []
    return first, draw(st.permutations([*first, *again]))
