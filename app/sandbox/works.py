"""Accept, find and bill works: what exists at the vendor, how far it is, and what it cost."""

import heapq
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from app.rules.status import ItemStatus
from app.sandbox.calls import Now
from app.sandbox.config import PriceList, Prices, SandboxConfig
from app.sandbox.items import Item, Link, show
from app.sandbox.links import sign
from app.sandbox.plan import AUDIO, DEFAULT_MODELS, decide
from app.sandbox.script import WorkRule
from app.tempolor.kinds import FAMILIES, Kind

_RUNNING_SHARE: Final = 0.05
"""A work waits for this share of its time until its first result, then it runs."""


@dataclass(slots=True)
class Work:
    """One accepted submission. ``n`` counts submissions that passed all checks; refused ones leave gaps."""

    n: int
    kind: Kind
    params: dict[str, Any]
    callback_url: str
    items: list[Item]
    accepted_at: float
    points: float

    @property
    def item_ids(self) -> list[str]:
        return [item.item_id for item in self.items]

    @property
    def ended_at(self) -> float:
        """Epoch seconds; may lie ahead, and is infinity for a work that never ends."""
        return max(item.ended_at for item in self.items)

    def truth(self, now: float) -> dict[str, Any]:
        """The work as the control API shows it."""
        ended = self.ended_at <= now
        return {
            "n": self.n,
            "kind": self.kind.name,
            "params": self.params,
            "callback_url": self.callback_url,
            "item_ids": self.item_ids,
            "accepted_at": self.accepted_at,
            "finished_at": self.ended_at if ended else None,
            "state": "ended" if ended else "running",
            "items": [
                {
                    "item_id": item.item_id,
                    "status": item.status(item.reached(now), now),
                    "outcome": item.plan.outcome,
                    "finished_at": item.ended_at if item.ended_at <= now else None,
                    "callbacks": [send.event for send in sorted(item.plan.sends, key=lambda send: send.at_s)],
                    "dropped": item.plan.dropped,
                }
                for item in self.items
            ],
        }


class Works:
    """All works since the last reset, and what follows from them: in flight, balance."""

    def __init__(self, config: SandboxConfig, base_url: str, now: Now = time.time) -> None:
        self.config = config
        self._now = now
        self.base_url = base_url
        self.all: list[Work] = []
        self.max_in_flight = 0
        self._run = secrets.randbelow(9_000_000) + 1_000_000
        self._numbers = 0
        self._items: dict[tuple[str, str], Item] = {}
        self._open: list[tuple[float, int, Work]] = []
        self._spent = 0.0

    def __iter__(self) -> Iterator[Work]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    def next_number(self) -> int:
        """The number of the next submission, from 1."""
        self._numbers += 1
        return self._numbers

    def accept(self, n: int, kind: Kind, body: dict[str, Any], rule: WorkRule) -> Work:
        """Take a submission: decide everything about it, count it and bill it."""
        now = self._now()
        params = {name: value for name, value in body.items() if name != "callback_url"}
        count = self.config.items_per_submission if rule.items is None else rule.items
        items = [self._make_item(n, index, kind, params, rule, now) for index in range(count)]
        if rule.echo:
            for item in items:
                item.plan.echo = f"{self.config.api_key} {body['callback_url']}"
        work = Work(n, kind, params, body["callback_url"], items, now, self.points(kind, params, count))
        self.all.append(work)
        self._spent += work.points
        heapq.heappush(self._open, (work.ended_at, n, work))
        self.max_in_flight = max(self.max_in_flight, self.in_flight(now))
        return work

    def points(self, kind: Kind, params: dict[str, Any], count: int | None = None) -> float:
        """What a submission costs. A song without lyrics has them written, and that is billed too."""
        each = price(kind.family.name, params, self.config.prices)
        return each * (count or self.config.items_per_submission)

    def in_flight(self, now: float) -> int:
        """How many works are not done. A failed item is paid back when its work ends (vendor: it is not billed)."""
        while self._open and self._open[0][0] <= now:
            _, _, work = heapq.heappop(self._open)
            failed = sum(item.plan.outcome == "failed" for item in work.items)
            self._spent -= work.points * failed / len(work.items)
        return len(self._open)

    def balance(self, now: float) -> float:
        """Points left."""
        self.in_flight(now)
        return round(self.config.balance - self._spent, 2)

    def find(self, family: str, item_id: str) -> Item | None:
        """An item, visible to queries or not."""
        return self._items.get((family, item_id))

    def find_any(self, item_id: str) -> Item | None:
        """An item of whatever family."""
        return next((item for family in FAMILIES if (item := self.find(family, item_id)) is not None), None)

    def shown(self, item: Item, now: float) -> dict[str, Any]:
        """The item as a query shows it now."""
        return show(item, item.reached(now), now, self.link(item, now))

    def shown_in_callback(self, item: Item, event: str, reached: int) -> dict[str, Any]:
        """The item as the callback of an event shows it; the same each time it is asked for."""
        at = item.happened_at(reached)
        return show(item, reached, at, self.link(item, at), event)

    def link(self, item: Item, now: float) -> Link:
        """Signs the item's files, anew after each ``resign_every_s`` since its acceptance; links of a chosen lifetime
        begin to live when they are shown."""
        signed_at = item.accepted_at
        if self.config.resign_every_s is not None:
            every = self.config.resign_every_s / self.config.scale
            signed_at += every * max(0, int((now - item.accepted_at) / every))
        lifetime_s = self.config.files.lifetime_s
        if lifetime_s is not None:
            signed_at = now
        return lambda name: sign(self.base_url, item.item_id, name, signed_at, lifetime_s)

    def finish(self) -> None:
        """Let every work end at this instant, also those that would never end."""
        now = self._now()
        for _, _, work in self._open:
            for item in work.items:
                item.end(now)
        self._open = [(work.ended_at, n, work) for _, n, work in self._open]
        heapq.heapify(self._open)

    def _make_item(self, n: int, index: int, kind: Kind, params: dict[str, Any], rule: WorkRule, now: float) -> Item:
        config = self.config
        plan = decide(kind, params, n, index, config, rule)
        never = plan.outcome == "stuck"
        marks = {event: float("inf") if never else now + at / config.scale for event, at in plan.marks.items()}
        first = min(plan.marks.values()) / config.scale
        item = Item(
            item_id=self._make_id(kind.family.name, n, index),
            kind=kind,
            params=params,
            plan=plan,
            stems_shape=config.stems_shape,
            accepted_at=now,
            running_at=now + first * _RUNNING_SHARE,
            visible_at=now + config.visible_after_s / config.scale,
            marks=marks,
        )
        self._items[(kind.family.name, item.item_id)] = item
        return item

    def _make_id(self, family: str, n: int, index: int) -> str:
        """Ids do not hang on the seed: a sandbox that was started anew must not name the works of an earlier one."""
        digits = f"{self._run}{n:07d}{index:02d}"
        if family == "song":
            return f"t2m_{int(digits):x}"
        return f"mss_{digits}" if family == "stems" else digits


def price(family: str, params: dict[str, Any], prices: Prices) -> float:
    """Points for one item of a submission."""
    model = str(params.get("model") or DEFAULT_MODELS.get(family, ""))
    if family != "song":
        return _of(getattr(prices, family), model)
    if params.get("instrumental") is True:
        return _of(prices.instrumental if model in prices.instrumental else prices.song, model)
    cover = params.get("action") == "upload_cover" or bool(params.get("upload_audio_url"))
    written = 0.0 if params.get("lyrics") else _of(prices.lyrics, "")
    return _of(prices.cover if cover else prices.song, model) + written


def _of(prices: PriceList, model: str) -> float:
    return prices.get(model, prices.get("*", 0.0))


def has_sound(item: Item, now: float) -> bool:
    """Whether there is something to extend."""
    reached = item.reached(now)
    done = AUDIO in list(item.marks)[:reached]
    return done and item.status(reached, now) != ItemStatus.FAILED
