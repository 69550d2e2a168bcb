"""What the vendor knows: whether a task was sent twice, or was never ours."""

from collections import Counter
from typing import Final

from app.sandbox.state import Sandbox
from app.tempolor.callback_tokens import Tokens
from tests.support.gateway import SECRET

FINAL: Final = frozenset({"succeeded", "part_failed", "failed", "expired", "canceled"})
KINDS: Final = ("song.generate", "instrumental.generate", "lyrics.generate", "stems.create", "midi.create")


def assert_sent_once(sandbox: Sandbox, known: set[str]) -> None:
    """The vendor accepted no task twice, and none that the gateway does not know."""
    tokens = Tokens([SECRET])
    sent: Counter[str] = Counter()
    for work in sandbox.works:
        family, token = work.callback_url.rsplit("/", 2)[-2:]
        found = tokens.verify(family, token)
        assert found is not None
        sent[str(found.task_id)] += 1
    twice = {task_id: times for task_id, times in sent.items() if times > 1}
    assert not twice, f"sent more than once: {twice}"
    strangers = set(sent) - known
    assert not strangers, f"sent, and not known: {strangers}"
