"""Forged callbacks are refused, and leave no trace; right ones are never throttled."""

import base64
from uuid import UUID

from app.tempolor.callback_tokens import Tokens
from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.gateway import SECRET, Running, running_gateway
from tests.support.song_callbacks import assert_problem, done, logged, song
from tests.support.start_fixtures import StartGateway

OTHER_SECRET = "another-secret-0123456789abcdef0123456789"


def _flip(token: str, position: int) -> str:
    return token[:position] + ("A" if token[position] != "A" else "B") + token[position + 1 :]


def _swap_task(token: str, other: str) -> str:
    """The key id and the MAC of one token around the task of another."""
    mine, theirs = base64.urlsafe_b64decode(token), base64.urlsafe_b64decode(other)
    return base64.urlsafe_b64encode(mine[:3] + theirs[3:19] + mine[19:]).decode()


def _plain_alphabet(token: str) -> str:
    return token.replace("-", "+").replace("_", "%2F")


async def test_a_forged_token_is_refused_and_leaves_no_row_anywhere(gateway: Running, db: Direct) -> None:
    tokens = gateway.gateway.context.tokens
    task, other = [(await gateway.submit())["id"] for _ in range(2)]
    token, others = tokens.sign("song", UUID(task)), tokens.sign("song", UUID(other))
    unbound = tokens.sign("song", None)
    paths = {
        "none": "song/",
        "no slash": "song",
        "empty": "",
        "another task's MAC": f"song/{_swap_task(token, others)}",
        "the unbound MAC": f"song/{_swap_task(unbound, token)}",
        "bound to nobody": f"song/{_swap_task(token, unbound)}",
        "another family": f"lyrics/{token}",
        "another family, unbound": f"midi/{unbound}",
        "unknown family": f"songs/{token}",
        "family in capitals": f"SONG/{token}",
        "no family": f"/{token}",
        "foreign secret": f"song/{Tokens([OTHER_SECRET]).sign('song', UUID(task))}",
        "foreign secret, unbound": f"song/{Tokens([OTHER_SECRET]).sign('song', None)}",
        "doubled": f"song/{token}{token}",
        "with a slash": f"song/{token}/",
        "with a suffix": f"song/{token}A",
        "with padding": f"song/{token}=",
        "with a newline": f"song/{token}%0A",
        "newline inside": f"song/{token[:20]}%0A{token[20:]}",
        "with a NUL": f"song/{token}%00",
        "with a space": f"song/%20{token}",
        "with text": f"song/{token}%C3%A9",
        "of text": "song/" + "%C3%A9" * 52,
        "not UTF-8": "song/" + "%FF" * 52,
        "in capitals": f"song/{token.upper()}",
        "long": "song/" + "A" * 20_000,
        "all zero": "song/" + "A" * 52,
        "dots": f"song/../lyrics/{token}",
    }
    paths |= {f"truncated to {length}": f"song/{token[:length]}" for length in (1, 26, 48, 51)}
    paths |= {f"flipped at {place}": f"song/{_flip(token, place)}" for place in [*range(0, 52, 3), 49, 50, 51]}
    before = await db.everything()
    body = done(title="Forged")
    answers = {name: await gateway.api.post(f"/callbacks/{path}", json=body) for name, path in paths.items()}
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(paths, 403)
    assert_problem(answers["long"], 403, "forbidden")
    assert await db.everything() == before
    assert (await gateway.call_back("song", body, UUID(task))).status_code == 200


async def test_a_token_in_another_spelling_of_its_bytes_is_refused(gateway: Running, db: Direct) -> None:
    """The decoder takes the plain base64 alphabet for the same bytes; a token is compared as text."""
    tokens = gateway.gateway.context.tokens
    token = ""
    for _ in range(50):
        task_id = UUID((await gateway.submit())["id"])
        token = tokens.sign("song", task_id)
        if "-" in token:
            break
    # An id begins with the time: at some hours every token has the other character, "_".
    assert "-" in token
    before = await db.everything()
    answer = await gateway.api.post(f"/callbacks/song/{token.replace('-', '+')}", json=song())
    assert answer.status_code == 403
    assert (await gateway.api.post(f"/callbacks/song/{_plain_alphabet(token)}", json=song())).status_code == 403
    assert await db.everything() == before


async def test_the_token_of_one_task_does_nothing_to_an_item_of_another(gateway: Running, db: Direct) -> None:
    mine, theirs = [(await gateway.submit())["id"] for _ in range(2)]
    assert (await gateway.call_back("song", song("t2m_mine", title="Mine"), UUID(mine))).status_code == 200
    before = await gateway.task(mine)
    answer = await gateway.call_back("song", done("t2m_mine", title="Stolen"), UUID(theirs))
    assert_problem(answer, 403, "forbidden")
    assert await gateway.task(mine) == before
    assert (await gateway.task(theirs))["items"] == []


async def test_every_secret_verifies_and_one_taken_away_does_not(start_gateway: StartGateway, db: Direct) -> None:
    gateway = await start_gateway(workers=False, callback_secrets=f"{SECRET},{OTHER_SECRET}")
    task = await gateway.submit()
    old, gone = Tokens([OTHER_SECRET]), Tokens(["a-third-secret-0123456789abcdef0123456789"])
    signed_by_old = f"/callbacks/song/{old.sign('song', UUID(task['id']))}"
    assert (await gateway.api.post(signed_by_old, json=song())).status_code == 200
    before = await db.everything()
    signed_by_gone = f"/callbacks/song/{gone.sign('song', UUID(task['id']))}"
    assert (await gateway.api.post(signed_by_gone, json=done())).status_code == 403
    assert await db.everything() == before
    # What the gateway signs now is signed with the first.
    url = gateway.callback_url("song", UUID(task["id"]))
    assert url.endswith(Tokens([SECRET]).sign("song", UUID(task["id"])))


@on_sqlite
async def test_a_header_does_not_get_around_the_allowed_networks(database_url: str, db: Direct) -> None:
    headers = {"X-Forwarded-For": "10.1.2.3", "X-Real-IP": "10.1.2.3", "Forwarded": "for=10.1.2.3"}
    for networks, status in (("10.0.0.0/8,::/0", 403), ("10.0.0.0/8, 127.0.0.0/8", 200)):
        async with running_gateway(database_url, workers=False, callback_allow_cidrs=networks) as gateway:
            url = gateway.callback_url("song", UUID((await gateway.submit())["id"]))
            before = await db.everything()
            for more in ({}, headers):
                answer = await gateway.api.post(url, json=song(f"t2m_{status}"), headers=more)
                assert answer.status_code == status
            assert (await db.everything() == before) is (status == 403)
            # The rest of the API is not the vendor's and has no such limit.
            assert (await gateway.api.get("/v1/tasks")).status_code == 200


@on_sqlite
async def test_a_header_does_not_get_around_the_throttle(gateway: Running) -> None:
    answers = [
        await gateway.api.post("/callbacks/song/wrong", headers={"X-Forwarded-For": f"198.51.100.{n}"})
        for n in range(110)
    ]
    assert answers[-1].status_code == 429


@on_sqlite
async def test_a_callback_is_posted(gateway: Running, db: Direct) -> None:
    task = await gateway.submit()
    before = await db.everything()
    url = gateway.callback_url("song", UUID(task["id"]))
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"):
        answer = await gateway.api.request(method, url)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert await db.everything() == before


async def test_what_the_vendor_sends_in_headers_is_never_stored(gateway: Running, db: Direct) -> None:
    task = await gateway.submit("stems.create")
    headers = {
        "Authorization": "Tempo-vendor-key-0123456789abcdef0123456789",
        "Cookie": "session=biscuit-0123456789",
        "X-Api-Key": "extra-0123456789",
    }
    body = {"stems": [{"item_id": "mss_1", "status": "succeeded", "stems_url": "https://cdn.example/s.zip?a=1"}]}
    for content in ({"json": body}, {"content": b"{"}):
        await gateway.api.post(gateway.callback_url("stems", UUID(task["id"])), headers=headers, **content)
    assert len(await logged(gateway, task["id"])) == 2
    assert (await gateway.task(task["id"]))["status"] == "succeeded"
    secrets = [*headers.values(), "biscuit-0123456789", "Tempo-vendor-key"]
    assert await db.mentions(*secrets) == []
    token = gateway.callback_url("stems", UUID(task["id"])).rpartition("/")[2]
    assert await db.mentions(token) == []
