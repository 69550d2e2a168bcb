"""The state of a running sandbox: works, calls, callbacks and rules; the truth that tests compare with."""

import asyncio
import time
from functools import partial
from typing import Any

import msgspec

from app.sandbox.callbacks import Callback, Deliveries, ItemQueue
from app.sandbox.calls import Calls, Now, TokenBucket
from app.sandbox.config import SandboxConfig
from app.sandbox.fetch_inputs import Inputs
from app.sandbox.items import Item
from app.sandbox.replies import SUCCESS, enclose
from app.sandbox.script import Pending, Script
from app.sandbox.works import Work, Works
from app.tempolor.kinds import Kind


class Sandbox:
    """A stand-in vendor. Made on a running loop; ``close`` ends its callbacks.

    ``works`` holds what was accepted, ``calls`` what the API was asked, ``callbacks`` each delivery that was tried,
    ``inputs`` what was fetched for works, ``script`` the rules that are still to be used.
    """

    def __init__(self, config: SandboxConfig, base_url: str, now: Now = time.time) -> None:
        self.config = config
        self.base_url = config.public_url or base_url
        self.now = now
        self.works = Works(config, self.base_url, now)
        self.calls = Calls(config.log_limit, now)
        self.script = Script()
        self.callbacks = Deliveries(config.delivery, config.scale, config.log_limit, now)
        self.inputs = Inputs(now)
        self.query_rate = self._bucket()
        self.query_count = self.account_count = 0

    async def close(self) -> None:
        """End all callbacks and fetches."""
        await self.inputs.stop()
        await self.callbacks.stop()

    def configure(self, config: SandboxConfig) -> None:
        """Take a new config; works that were accepted keep the fate that the old one gave them."""
        self.config = self.works.config = config
        self.query_rate = self._bucket()
        self.callbacks.configure(config.delivery, config.scale)

    def reset(self, config: SandboxConfig | None = None) -> None:
        """Forget all works, calls, callbacks and rules, and begin the numbers anew."""
        self.configure(config or self.config)
        self.works = Works(self.config, self.base_url, self.now)
        self.calls = Calls(self.config.log_limit, self.now)
        self.script = Script()
        self.callbacks.reset(self.config.log_limit)
        self.query_count = self.account_count = 0

    def add_rules(self, **rules: Any) -> None:
        """Append rules: ``answers=[{…}], works=[{…}]``, the fields of ``AnswerRule`` and ``WorkRule``."""
        self.script.add(Pending.model_validate(rules))

    def finish(self) -> None:
        """Let all works end now, and send what callbacks are still to come."""
        self.works.finish()
        self.callbacks.hasten()

    async def settle(self, timeout_s: float = 10) -> None:
        """Wait until no callback is left to send. Raises ``TimeoutError``."""
        async with asyncio.timeout(timeout_s):
            while self.callbacks.pending:  # noqa: ASYNC110 - polled by tests alone; no event in the hot path for it
                await asyncio.sleep(0.005)

    def accept(self, n: int, kind: Kind, body: dict[str, Any]) -> tuple[Work, list[asyncio.Future[None]]]:
        """Take a submission and plan its callbacks; the futures are those of callbacks that precede the answer."""
        work = self.works.accept(n, kind, body, self.script.work(n, kind.name, body))
        if self.config.fetch_inputs_after_s is not None:
            self.inputs.schedule(n, work.params, self.config.fetch_inputs_after_s / self.config.scale)
        headers = {"Authorization": self.config.api_key} if kind.family.name == "stems" else {}
        early: list[asyncio.Future[None]] = []
        for item in work.items:
            queue = ItemQueue()
            for send in sorted(item.plan.sends, key=lambda send: (not send.early, send.at_s)):
                make_body = partial(_render, self.works, item, send.event, send.reached)
                callback = Callback(n, item.item_id, send.event, work.callback_url, make_body, headers)
                if not send.copy:
                    callback.queue = queue
                if send.early:
                    callback.done = asyncio.get_running_loop().create_future()
                    early.append(callback.done)
                at_s = 0.0 if send.early else send.at_s
                self.callbacks.schedule(callback, work.accepted_at + at_s / self.config.scale)
        return work, early

    def _bucket(self) -> TokenBucket:
        return TokenBucket(self.config.query_rate_per_s, self.config.query_burst, self.now)

    def truth(self) -> dict[str, Any]:
        """Counters over everything since the last reset."""
        now = self.now()
        return {
            **self.calls.summary(),
            "works": len(self.works),
            "in_flight": self.works.in_flight(now),
            "max_in_flight": self.works.max_in_flight,
            "balance": self.works.balance(now),
            "callbacks_pending": self.callbacks.pending,
            "callbacks_tried": self.callbacks.log.total,
            "callbacks_acknowledged": self.callbacks.log.acknowledged,
            "callbacks_by_answer": dict(self.callbacks.log.by_answer),
        }


def _render(works: Works, item: Item, event: str, reached: int) -> bytes:
    """The body of a callback."""
    content = {item.kind.family.list_key: [works.shown_in_callback(item, event, reached)]}
    return enclose(SUCCESS, None, content).body if item.plan.enveloped else msgspec.json.encode(content)
