"""Two processes tell clients from one database: none of them posts what the other has under way."""

import asyncio
from uuid import UUID

from app.notifications.deliver import PER_RECEIVER
from tests.support.databases import on_postgresql
from tests.support.gateway import eventually
from tests.support.notifications import client_of, once, watching, write, written
from tests.support.start_fixtures import StartGateway


@on_postgresql
async def test_two_senders_never_post_the_same_at_once(start_gateway: StartGateway) -> None:
    first = await start_gateway(egress_allow_private=True)
    await start_gateway(egress_allow_private=True)
    studio = await client_of(first)
    hosts, both_at_it = [f"127.0.2.{number}" for number in range(1, 5)], asyncio.Event()
    async with watching(once(both_at_it), hosts=hosts) as receiver:
        rows = [one for host in hosts for one in written(first, receiver.url(host), 12)]
        await write(first, rows)

        async def more_than_one_sender_may_have() -> bool:
            return receiver.at_once > PER_RECEIVER * len(hosts)

        async def all_delivered() -> bool:
            return len(await studio.notifications(status="delivered")) == len(rows)

        await eventually(more_than_one_sender_may_have, timeout_s=30)
        both_at_it.set()
        await eventually(all_delivered, timeout_s=30, every_s=0.1)
    assert receiver.twice == []
    assert sorted(UUID(one) for one in receiver.seen()) == sorted(notification_id for notification_id, *_ in rows)
