"""The floor: bare ASGI on the same server, which reads the body and answers; no gateway can be faster than that."""

from typing import Any

from benchmarks.serving import serve_forever


async def app(_scope: Any, receive: Any, send: Any) -> None:
    """Answer ``success`` to everything."""
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
    headers = [(b"content-length", b"7"), (b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"success"})


if __name__ == "__main__":
    serve_forever(app)
