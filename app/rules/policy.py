"""The settings that the rules read: times in seconds, limits, aliases."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings that the domain's rules read. ``first_after_s`` is None where the schedule is learned (``auto``);
    ``model_aliases``: the model that is sent in place of one that a client names; ``archives``: result files are
    copied."""

    max_in_flight: int = 10
    submit_timeout_s: float = 30.0
    submit_confirm_s: float = 900.0
    query_rate_per_s: float = 2.0
    first_after_s: float | None = None
    interval_s: float = 15.0
    max_interval_s: float = 300.0
    deadline_s: float = 3600.0
    unknown_grace_s: float = 600.0
    refusals_to_hold: int = 3
    model_aliases: Mapping[str, str] = field(default_factory=dict, hash=False)
    follow_up_s: float = 20.0
    archives: bool = False

    lease_s: float = 30.0
    follow_ups: int = 3

    @property
    def submit_lease_s(self) -> float:
        """A submission's lease outlives its time-out, so that only a dead or frozen sender lets it lapse."""
        return self.submit_timeout_s + 30.0

    @property
    def unconfirmed_slot_s(self) -> float:
        """How long after its claim an unconfirmed submission still counts as in flight."""
        return 4 * self.submit_timeout_s

    @property
    def settle_after_s(self) -> float:
        """Wait before the first question about a final item of which an artifact is missing."""
        return self.follow_up_s if self.first_after_s is None else min(self.follow_up_s, self.first_after_s)
