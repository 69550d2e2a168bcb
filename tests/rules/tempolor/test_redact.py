"""Our secrets are taken out of whatever comes from outside, in each spelling, and nothing else is touched."""

import base64
import html
import itertools
import json
import urllib.parse
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from app.tempolor import item_readings
from app.tempolor.callback_tokens import Tokens
from app.tempolor.decoding import Malformed
from app.tempolor.escapes import MOST_ESCAPES
from app.tempolor.kinds import SONG
from app.tempolor.redact import MARK, Redactor
from tests.rules.tempolor.samples import AUDIO_COMPLETE, STEMS_ANSWER

KEY = "Tempo-Zr8kQ2xV7mLw0pNd4sBt6yGh1cJf3aUe"
SECRET = "first/of+two=secrets%41&more-0123456789"
OLD_SECRET = "zweites Geheimnis für die alten Aufgaben"
ADMIN_KEY = '"quoted" <admin> \\key\\ 0123456789abcdef'
TASK = UUID("0192f3a1-7c1e-7a3b-9c4d-5e6f708192a3")
PASSWORD = "long-password-of-a-proxy"
TOKENS = Tokens([SECRET, OLD_SECRET])
REDACTOR = Redactor(KEY, [SECRET, OLD_SECRET, ADMIN_KEY], TOKENS, [f"user:{PASSWORD}"])

HELD = {
    "key": KEY,
    "secret": SECRET,
    "old secret": OLD_SECRET,
    "admin key": ADMIN_KEY,
    "password": PASSWORD,
    "token": TOKENS.sign("song", TASK),
    "token of another family": TOKENS.sign("midi", TASK),
    "unbound token": TOKENS.sign("stems", None),
    "old token": Tokens([OLD_SECRET]).sign("lyrics", TASK),
    "API key": f"tpg_{'q7-Zx_2Kd' * 5}",
    "webhook secret": "whsec_/Qyl+rP4p7YcIqBgc8S/6cBc+DiTt98NMso6Mhu6Yrs=",
}


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def _json_escaped(text: str) -> str:
    units = text.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _some(text: str, every: int, spelled: Callable[..., Any]) -> str:
    return "".join(spelled(one) if at % every == 0 else one for at, one in enumerate(text))


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "small": str.lower,
    "capitals": str.upper,
    "of a URL": lambda text: urllib.parse.quote(text, safe=""),
    "of a URL in small hex": lambda text: urllib.parse.quote(text, safe="").lower(),
    "of a URL, twice": lambda text: urllib.parse.quote(urllib.parse.quote(text, safe=""), safe=""),
    "all percent": _percent,
    "all percent, small": lambda text: _percent(text).lower(),
    "all percent, twice": lambda text: _percent(_percent(text)),
    "every second percent": lambda text: _some(text, 2, _percent),
    "the first percent": lambda text: _some(text, 100, _percent),
    "entities": lambda text: "".join(f"&#{ord(one)};" for one in text),
    "entities in hex": lambda text: "".join(f"&#x{ord(one):X};" for one in text),
    "some entities": lambda text: _some(text, 5, lambda one: f"&#00{ord(one)};"),
    "of a page": lambda text: text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;"),
    "of a page in a URL": lambda text: urllib.parse.quote("".join(f"&#{ord(one)};" for one in text)),
}
"""What a text is made into before it is put into JSON."""
WRITERS: dict[str, Callable[[str], str]] = {
    "plainly": lambda text: json.dumps(text, ensure_ascii=False),
    "in ASCII": json.dumps,
    "with escaped slashes": lambda text: json.dumps(text).replace("/", "\\/"),
    "all escaped": lambda text: f'"{_json_escaped(text)}"',
    "all escaped, in capitals": lambda text: f'"{_json_escaped(text)}"'.upper().replace("\\U", "\\u"),
    "partly escaped": lambda text: json.dumps(text[:5])[:-1] + _json_escaped(text[5]) + json.dumps(text[6:])[1:],
    "as JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "as JSON in JSON with escaped slashes": lambda text: json.dumps(json.dumps(text).replace("/", "\\/")),
}


def _meant(text: str) -> str:
    """A text with all its escapes resolved, in small letters, by the standard library."""
    for _ in range(4):
        text = html.unescape(urllib.parse.unquote(text))
        if text[:1] == '"':
            text = json.loads(text)
    return text.lower()


@pytest.mark.parametrize("name", HELD)
def test_a_secret_in_any_spelling_is_taken_out(name: str) -> None:
    for (spelling, spell), (writer, write) in itertools.product(SPELLINGS.items(), WRITERS.items()):
        raw = f'{{"message":{write(f"bad: {spell(HELD[name])} (x)")},"next":1}}'.encode()
        document = json.loads(REDACTOR.body(raw))
        words = document["message"]
        assert document["next"] == 1, (spelling, writer)
        assert MARK in words, (spelling, writer, raw)
        assert ("bad: " in words, "(x)" in words) == (True, True), (spelling, writer, raw)
        assert HELD[name].lower()[4:] not in _meant(words), (spelling, writer)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_body_in_another_encoding_stays_readable(encoding: str) -> None:
    for name, secret in HELD.items():
        raw = json.dumps({"songs": [{"item_id": "a", "title": f"x {secret} y"}]}, ensure_ascii=False).encode(encoding)
        [reading] = item_readings.read_callback(REDACTOR.body(raw), SONG).readings
        assert reading.values["title"] == f"x {MARK} y", name


@pytest.mark.parametrize("before", ["", "u", "us", "user:", "key="])
@pytest.mark.parametrize("name", ["key", "secret", "old secret", "password"])
def test_a_secret_in_base64_is_taken_out(name: str, before: str) -> None:
    encoded = base64.b64encode((before + HELD[name]).encode())
    kept = json.loads(REDACTOR.body(b'{"a":"Basic ' + encoded + b'"}'))["a"]
    assert kept.endswith(MARK)
    assert len(kept) <= len("Basic ") + 8 + len(MARK)


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize(
    "before", ["", "u", "us", "https://gateway.example/music", '{"prompt":"rain","callback_url":"h']
)
def test_a_callback_url_in_base64_loses_its_token(before: str, encode: Callable[..., Any]) -> None:
    """As whoever keeps requests as bytes sends one back."""
    url = f"{before}/callbacks/song/{HELD['token']}"
    encoded = encode(f'{url}","model":"m"}}'.encode())
    kept = REDACTOR.body(b'{"message":"got %s"}' % encoded)
    assert kept.endswith(MARK.encode() + b'"}')
    left = kept.removeprefix(b'{"message":"got ').split(MARK.encode())[0]
    assert encoded.startswith(left)
    assert len(left) <= (len(before) + 2) * 4 / 3


def test_credentials_are_taken_out_as_they_are_sent_to_a_proxy() -> None:
    short = Redactor(KEY, credentials=["user:pass"])
    for redactor, sent in ((REDACTOR, f"user:{PASSWORD}"), (short, "user:pass")):
        header = base64.b64encode(sent.encode()).decode()
        assert redactor.text(f"Proxy-Authorization: Basic {header}\r\n") == f"Proxy-Authorization: Basic {MARK}\r\n"
    assert short.text("user pass") == "user pass"


@pytest.mark.parametrize("length", [8, 9, 20, len(KEY) - 1])
@pytest.mark.parametrize("end", ['"', "…", "...", "***", "\n", ""])
def test_the_beginning_of_the_key_is_taken_out_where_the_text_was_cut(length: int, end: str) -> None:
    assert REDACTOR.text(f"bad key {KEY[:length]}{end}") == f"bad key {MARK}{end}"


def test_the_beginning_of_a_word_is_left_where_the_text_goes_on() -> None:
    redactor = Redactor("production-key-0123456789abcdef0123456789")
    assert redactor.text("production of music") == "production of music"
    assert redactor.text("production-key-01 is bad") == f"{MARK} is bad"


@pytest.mark.parametrize("length", [28, 40, 51])
def test_a_token_that_was_cut_is_taken_out(length: int) -> None:
    token = HELD["token"]
    assert REDACTOR.text(f"at {token[:length]}…") == f"at {MARK}…"


def test_only_tokens_of_ours_are_taken_for_tokens() -> None:
    token = HELD["token"]
    others = Tokens(["somebody-elses-secret-0123456789abcdef"]).sign("song", TASK)
    wrong = token[:40] + ("A" if token[40] != "A" else "B") + token[41:]
    for text in (others, wrong, f"https://cdn.example/{token[:4]}{others[4:]}.mp3", token[:20]):
        assert REDACTOR.text(text) is text


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example/callbacks/tempolor/production",
        "https://app.example/callbacks/song/0123456789abcdef",
        f"https://app.example/callbacks/song/{Tokens(['somebody-elses-secret-0123456789abcdef']).sign('song', TASK)}",
    ],
)
def test_a_callback_url_of_somebody_else_is_left(url: str) -> None:
    assert REDACTOR.text(url) is url


def test_a_secret_that_may_be_a_text_is_known_as_a_whole_alone() -> None:
    redactor = Redactor("k" * 32, ["a" * 40])
    for text in ("a" * 39, "b" * 1000, "k" * 31, f"{'k' * 16} {'a' * 16}"):
        assert redactor.text(text) is text
    assert redactor.text(f"{'k' * 32} {'a' * 40}") == f"{MARK} {MARK}"


@pytest.mark.parametrize("slash", ["/", "\\/", "%2F", "%2f", "%252F", "\\u002f", "&#47;", "\\\\/"])
def test_a_callback_url_loses_its_token_however_it_is_written(slash: str) -> None:
    for cut in (12, 30, 52):
        url = f"https:{slash}{slash}gw.example{slash}callbacks{slash}song{slash}{HELD['token'][:cut]}"
        for written in (url, url.upper().replace("U002F", "u002f"), url.lower()):
            kept = REDACTOR.body(f'{{"message":"{written}?"}}'.encode())
            assert json.loads(kept)["message"].endswith(f"{MARK}?"), written
            assert HELD["token"][4:12].lower() not in kept.decode().lower(), written


def test_nothing_of_an_everyday_body_is_touched_or_looked_at_closely() -> None:
    for sample in (AUDIO_COMPLETE, STEMS_ANSWER):
        for ascii_only in (True, False):
            raw = json.dumps(sample, ensure_ascii=ascii_only).encode()
            assert REDACTOR.body(raw) is raw
    for text in (
        "don&#39;t",
        "a%2Fb%3Dc%E6%B8%AF",
        "\\u6e2f\\u003d\\u0026",
        "C# minor",
        "call back",
        "tpg_ and whsec_ alone",
    ):
        assert REDACTOR.text(text) is text
    for raw in (b"\xff\xfe\x00", b"\xb8\xdb\xcd\xe5", "港湾".encode("gbk"), "港湾".encode(), b""):
        assert REDACTOR.body(raw) is raw


def test_bytes_around_a_secret_stay_as_they_came() -> None:
    raw = b'\xff{"a": "\\u6e2f' + KEY.encode() + b'\\n",  "b":1e400, "a":"' + KEY.encode() + b'"}\xb8'
    assert REDACTOR.body(raw) == raw.replace(KEY.encode(), MARK.encode())


def test_secrets_that_overlap_or_touch_leave_nothing() -> None:
    text = f"{KEY}{KEY} {HELD['token']}{HELD['token']} {KEY[:20]}{KEY}"
    kept = REDACTOR.text(text)
    assert not any(KEY[at : at + 8] in kept for at in range(len(KEY) - 8))
    assert HELD["token"][8:] not in kept


def test_an_escape_is_never_left_in_half() -> None:
    redactor = Redactor("nothing-of-this-0123456789abcdef0123456789")
    kept = redactor.body(b'{"a":"line\\nothing-of-this-0123456789abcdef0123456789\\n"}')
    assert json.loads(kept) == {"a": f"line{MARK}\n"}


@pytest.mark.parametrize(
    "flood",
    [
        b"%41" * 300_000,
        b"\\u0041" * 150_000,
        HELD["token"][:4].encode() * 200_000,
        KEY[:8].encode() * 100_000,
        f"callbacks/song/{HELD['token'][:9]} ".encode() * 40_000,
        b"tpg_" + b"0123456789abcdef" * 60_000,
    ],
    ids=lambda flood: repr(flood[:12]),
)
def test_a_flood_of_what_may_be_secrets_is_not_looked_through(flood: bytes) -> None:
    kept = REDACTOR.body(b'{"songs":[{"item_id":"a","title":"' + flood + b'"}]}')
    assert KEY.encode() not in kept
    assert len(kept) < len(flood)


def test_as_many_escapes_as_a_body_may_have_are_looked_through() -> None:
    raw = b'{"a":"' + b"%41" * (MOST_ESCAPES - 100) + _percent(KEY).encode()[:-3] + b'"}'
    assert json.loads(REDACTOR.body(raw))["a"].endswith(MARK)


@pytest.mark.parametrize("spelling", ["plain", "all percent", "capitals"])
def test_an_item_id_that_held_a_secret_names_nothing(spelling: str) -> None:
    bad = SPELLINGS[spelling](KEY)
    items = [{"item_id": f"t2m_{bad}", "status": "succeeded"}, {"item_id": "t2m_1", "status": "running"}]
    body = item_readings.read_callback(REDACTOR.body(json.dumps({"songs": items}).encode()), SONG)
    assert [one.item_id for one in body.readings] == ["t2m_1"]
    assert body.oddities == {"item_without_id": 1}
    with pytest.raises(Malformed):
        item_readings.read_callback(REDACTOR.body(json.dumps({"songs": items[:1]}).encode()), SONG)
