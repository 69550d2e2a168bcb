"""While a process drains: each answer says that its connection ends, so that whoever keeps one open moves on.

A balancer takes a process that is not ready out of its turn for new connections; those that are kept alive go on
bringing requests, and the last of them would meet the end of the process.
"""

from starlette.types import Message, Send


def closing(send: Send) -> Send:
    """``send``, which closes the connection after the answer."""

    async def send_and_close(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"connection"]
            message = {**message, "headers": [*headers, (b"connection", b"close")]}
        await send(message)

    return send_and_close
