"""Links to files: each is good for its file until its time, and nothing else is."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.rules.times import FAR
from app.runtime.file_links import ArtifactRef, FileLinks, UploadRef

NOW = datetime(2026, 11, 30, tzinfo=UTC)
OLD, NEW = "old-secret-0123456789abcdef0123456789", "new-secret-0123456789abcdef0123456789"
UPLOAD = UUID(int=7)


def _links(*secrets: str, lifetime: timedelta = timedelta(days=7)) -> FileLinks:
    return FileLinks(secrets, "https://gateway.example", lifetime)


def _token(url: str) -> str:
    return url.split("/")[-2]


def test_the_longest_item_id_has_a_link() -> None:
    ref = ArtifactRef("instrumental", "\U0001f600" * 200, "audio_hi")
    links = _links(NEW)
    assert links.verify(_token(links.artifact_url(ref, "a.mp3", NOW)), NOW) == ref


def test_a_link_may_be_good_for_longer_than_its_token_can_tell() -> None:
    links = _links(NEW)
    token = _token(links.upload_url(UPLOAD, "a.mp3", FAR))
    assert links.verify(token, NOW + timedelta(days=70 * 365)) == UploadRef(UPLOAD)


def test_secrets_rotate() -> None:
    ref = ArtifactRef("song", "t2m_1", "audio")
    token = _token(_links(OLD).artifact_url(ref, "a.mp3", NOW))
    assert _links(NEW, OLD).verify(token, NOW) == ref
    assert _links(NEW).verify(token, NOW) is None
    assert _links(OLD).verify(token, NOW + timedelta(days=7, hours=1)) is None


@pytest.mark.parametrize("lifetime", [timedelta(seconds=2), timedelta(minutes=10), timedelta(hours=5)], ids=str)
def test_a_short_lifetime_ends_nearly_when_it_should(lifetime: timedelta) -> None:
    links = _links(NEW, lifetime=lifetime)
    for second in range(3600):
        now = NOW + timedelta(seconds=second)
        token = _token(links.artifact_url(ArtifactRef("song", "t2m_1", "audio"), "a.mp3", now))
        assert links.verify(token, now + lifetime - timedelta(milliseconds=1)) is not None
        assert links.verify(token, now + lifetime * 25 / 24 + timedelta(seconds=1)) is None


def test_for_an_hour_a_file_has_one_link() -> None:
    links, ref = _links(NEW), ArtifactRef("song", "t2m_1", "audio")
    shown = {links.artifact_url(ref, "a.mp3", NOW + timedelta(minutes=minute)) for minute in range(1, 61)}
    assert len(shown) == 1
