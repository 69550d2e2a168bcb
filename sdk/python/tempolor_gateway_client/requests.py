"""What a caller asks for, as the gateway reads it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Until = Literal["playable", "final"]
"""What to wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """A task to be submitted with others. ``kind``: as in ``song.generate``; ``params``: the vendor's."""

    kind: str
    params: Mapping[str, Any]
    reference: str | None = None
    metadata: Mapping[str, Any] | None = None
    webhook_url: str | None = None

    def document(self) -> dict[str, Any]:
        """The body of a request."""
        optional = {"reference": self.reference, "metadata": self.metadata, "webhook_url": self.webhook_url}
        return {"kind": self.kind, "params": self.params} | {
            name: value for name, value in optional.items() if value is not None
        }
