"""A vendor that accepts every submission at once, each with one new item: what is left is what the gateway takes."""

import itertools
from typing import Any, Final

from benchmarks.serving import serve_forever

_numbers: Final = itertools.count()


async def app(_scope: Any, receive: Any, send: Any) -> None:
    """Answer each request as an accepted submission."""
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
    number = next(_numbers)
    body = (
        f'{{"status":200000,"message":"success","request_id":"r{number}","data":{{"item_ids":["t2m_{number:016x}"]}}}}'
    ).encode()
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    serve_forever(app)
