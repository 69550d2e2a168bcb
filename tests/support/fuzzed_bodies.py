"""What might be posted to a callback's URL: bodies that are nearly right, and bytes that are not."""

import json

from hypothesis import strategies as st

from app.tempolor.kinds import FAMILIES

texts = st.text(st.characters(codec=None), max_size=10)
odd = st.sampled_from(
    ["https://cdn.example/a.mp3?auth_key=1", "\x00", "\ud800", "x" * 300, 10**400, -(10**400), 1e308, "", [], {}, True]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | odd,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(
    sorted(
        {
            "event",
            "title",
            "lyric",
            "lyrics",
            "lyrics_sections",
            "duration",
            "created_at",
            "finished_at",
            "error",
        }.union(*(family.shape.status_fields | family.shape.url_fields for family in FAMILIES.values()))
    )
)
statuses = st.sampled_from(["waiting", "running", "main_succeeded", "succeeded", "failed", "part_failed", "odd"])
item_ids = st.sampled_from(["t2m_1", "t2m_2", 7, "x" * 200, "x" * 201, "", None, "a\x00"]) | values
items = st.builds(
    lambda fields, item_id, status: {**fields, "item_id": item_id, "status": status},
    st.dictionaries(names | texts, values, max_size=6),
    item_ids,
    statuses | values,
)
list_keys = st.sampled_from(sorted({family.list_key for family in FAMILIES.values()})) | texts
right = st.lists(items, min_size=1, max_size=4).map(
    lambda listed: {family.list_key: listed for family in FAMILIES.values()}
)
documents = right | st.dictionaries(list_keys, st.lists(items | values, max_size=4) | values, max_size=2) | values
encoded = st.builds(
    lambda document, ascii_only: json.dumps(document, ensure_ascii=ascii_only).encode(errors="surrogatepass"),
    documents,
    st.booleans(),
)
deep = st.integers(1, 3000).map(lambda depth: b'{"songs":' + b"[" * depth + b"]" * depth + b"}")
cut = st.builds(
    lambda raw, at, noise: raw[: at % (len(raw) + 1)] + noise, encoded, st.integers(0), st.binary(max_size=5)
)
bodies = st.one_of(encoded, encoded, cut, deep, st.binary(max_size=60))

VALUES = [
    *(b"x", b"2", b"02", b"-1", b"1e3", b"99999999999999999999", b"\xff\xfe", b"a\x00b", b""),
    *(b"chunked", b"chunked, chunked", b"identity", b"100-continue", b"websocket", b"upgrade", b"close"),
]
heads = st.builds(
    lambda method, path, version, lines, body: b"".join(
        [
            method,
            b" ",
            path,
            b" ",
            version,
            b"\r\n",
            *(name + b": " + value + b"\r\n" for name, value in lines),
            b"\r\n",
            body,
        ]
    ),
    st.sampled_from([b"POST", b"GET", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"BREW", b"post", b""]),
    st.sampled_from(
        [b"TARGET", b"TARGET/x", b"/callbacks/", b"/callbacks/song", b"*", b"http://x/", b"/%", b"/\xff", b"x:1"]
    )
    | st.binary(max_size=20).map(lambda noise: b"/callbacks/song/" + noise),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.1 ", b"ICY", b""]),
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    b"Host",
                    b"Content-Length",
                    b"Transfer-Encoding",
                    b"Expect",
                    b"Upgrade",
                    b"Connection",
                    b"Cookie",
                    b"",
                    b" x",
                ]
            ),
            st.sampled_from(VALUES) | st.binary(max_size=10),
        ),
        max_size=4,
    ),
    st.sampled_from(
        [b"{}", b"0\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n", b"fffffffffffffffff\r\n", b"2;x=y\r\n{}\r\n0\r\nT: t\r\n\r\n"]
    )
    | st.binary(max_size=20),
)
