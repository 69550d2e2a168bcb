"""Everything that is known of one task at the end: the gateway's word for it, and the vendor's truth."""

from collections.abc import Iterable
from dataclasses import dataclass

from app.demo.history import Step, read_steps
from app.demo.story import STORY, Part
from app.demo.talk import Document, Vendor
from tempolor_gateway_client import AsyncGatewayClient, Task


@dataclass(frozen=True, slots=True)
class Evidence:
    """``task`` and ``steps`` are the gateway's; ``submissions`` and ``queries`` are calls that the vendor received,
    ``works`` what it took, ``callbacks`` what it tried to deliver, ``dropped`` the events that it did not."""

    part: Part
    task: Document
    steps: list[Step]
    works: list[Document]
    submissions: list[Document]
    queries: list[Document]
    callbacks: list[Document]

    @property
    def dropped(self) -> list[str]:
        return [event for work in self.works for item in work["items"] for event in item["dropped"]]


async def gather(gateway: AsyncGatewayClient, vendor: Vendor, tasks: Iterable[Task]) -> list[Evidence]:
    """The evidence of all tasks, in the order of the story."""
    by_kind = {task.kind: task for task in tasks}
    works = await vendor.truth("works")
    calls = await vendor.truth("calls")
    callbacks = await vendor.truth("callbacks")
    found = []
    for part in STORY:
        task = by_kind[part.kind]
        own = [work for work in works if work["kind"] == part.kind]
        item_ids = {item_id for work in own for item_id in work["item_ids"]}
        found.append(
            Evidence(
                part,
                task.raw,
                read_steps(entry.raw for entry in await gateway.timeline(task.id)),
                own,
                [call for call in calls if call["operation"] == "submit" and call["kind"] == part.kind],
                [call for call in calls if call["operation"] == "query" and item_ids & set(call["item_ids"])],
                [one for one in callbacks if one["item_id"] in item_ids],
            )
        )
    return found
