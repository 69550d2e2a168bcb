"""Close keep-alive connections while a process drains: each response carries ``Connection: close``.

A balancer sends no new connections to a process that is not ready; those that are kept alive go on bringing requests,
and the last of them would be cut off by the end of the process.
"""

from starlette.types import Message, Send


def closing(send: Send) -> Send:
    """Wrap ``send`` so that it closes the connection after the response."""

    async def send_and_close(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"connection"]
            message = {**message, "headers": [*headers, (b"connection", b"close")]}
        await send(message)

    return send_and_close
