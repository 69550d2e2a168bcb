"""A link to the console that is followed at several replicas at once signs in one browser."""

import asyncio

import httpx

from app.audit.audit import Actor
from app.clients import tickets
from app.database.connect import is_sqlite, parse_url
from tests.support.start_fixtures import StartGateway


async def test_one_of_those_who_follow_a_link_at_once_is_signed_in(
    start_gateway: StartGateway, database_url: str
) -> None:
    replicas = [await start_gateway(workers=False) for _ in range(1 if is_sqlite(parse_url(database_url)) else 2)]
    context = replicas[0].gateway.context
    for _ in range(5):
        issued = await tickets.issue_for_console(context.db, context.clock, Actor("cli:root"), "bootstrap")
        form = {"ticket": issued.ticket}
        answers = await asyncio.gather(
            *(one.api.post("/console/link", data=form, headers={"Authorization": ""}) for one in replicas * 4)
        )
        assert sorted(answer.status_code for answer in answers) == [303] + [401] * (len(answers) - 1)
        assert [_signs_in(answer) for answer in answers].count(True) == 1


def _signs_in(answer: httpx.Response) -> bool:
    return "set-cookie" in answer.headers
