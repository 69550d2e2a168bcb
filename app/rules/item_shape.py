"""The shape of an item: which fields of the vendor carry artifacts, statuses and texts.

The registry in ``app.tempolor.kinds`` makes one shape per family; the join and the views read it, so that
no rule about a family is written anywhere else.
"""

from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Artifact:
    """A result file of an item.

    ``fields`` are the vendor's names for its URL, ``status_field`` its sub-status if it has one.
    ``required`` artifacts keep an item from being settled until they are there or have failed;
    the others are shown once they are known. ``lifetime`` is how long a URL is valid. ``several``: the vendor may
    send a list or an object of URLs, which is shown as it came; of any other artifact the first URL is shown.
    ``media_types``: what the file may be; the archive keeps no other.
    """

    name: str
    fields: tuple[str, ...]
    status_field: str | None = None
    required: bool = True
    lifetime: timedelta = timedelta(days=3)
    several: bool = False
    media_types: tuple[str, ...] = ()

    @property
    def lasts(self) -> bool:
        """Whether a new link to it is worth asking for. A stream is for the minutes until its file is there."""
        return self.lifetime >= timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Shape:
    """The item of one family: its artifacts, and in ``sections_field`` the aligned lyrics, if they are to be
    expected."""

    artifacts: tuple[Artifact, ...]
    sub_statuses: tuple[str, ...] = ()
    sections_field: str | None = None
    sections_status: str | None = None
    lyrics_fields: tuple[str, ...] = ("lyrics", "lyric")

    status_fields: frozenset[str] = field(init=False)
    """Every vendor field that is ordered, not last-writer-wins."""
    url_fields: frozenset[str] = field(init=False)
    """Every vendor field that carries a URL of an artifact."""
    required: tuple[Artifact, ...] = field(init=False)
    """The artifacts without which an item is not settled."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "status_fields", frozenset({"status", *self.sub_statuses}))
        names = frozenset(name for artifact in self.artifacts for name in artifact.fields)
        object.__setattr__(self, "url_fields", names)
        object.__setattr__(self, "required", tuple(artifact for artifact in self.artifacts if artifact.required))
