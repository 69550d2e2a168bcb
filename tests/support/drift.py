"""What a gateway has heard that nobody knew."""

from typing import Any

from tests.support.gateway import Running


async def told(gateway: Running) -> dict[tuple[str, str], dict[str, Any]]:
    """What is kept, by sort and name, after a flush."""
    context = gateway.gateway.context
    await context.drift.flush(context.db, context.clock.now())
    answer = await gateway.api.get("/v1/drift")
    assert (answer.status_code, answer.json()["next_cursor"]) == (200, None)
    return {(one["sort"], one["name"]): one for one in answer.json()["data"]}
