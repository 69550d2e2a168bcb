"""What a gateway warns of: in ``/readyz``, as metrics, in the log."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tests.support.gateway import Running


async def warnings(gateway: Running) -> dict[str, str]:
    """By code; the first of each."""
    answer = await gateway.api.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
    return {one["code"]: one["detail"] for one in reversed(answer.json()["warnings"])}


async def metric(gateway: Running, name: str) -> dict[str, float]:
    """By setting; of a metric without labels under ""."""
    text = (await gateway.api.get("/metrics")).text
    found = re.findall(rf"^{name}(?:\{{setting=\"(\w+)\"\}})? (\S+)$", text, re.MULTILINE)
    return {label: float(value) for label, value in found}


def told(logs: Iterable[Mapping[str, Any]], event: str) -> list[Mapping[str, Any]]:
    """The lines of one event."""
    return [one for one in logs if one["event"] == event]
