"""What uvicorn writes to a connection in two pieces within one turn of the loop, sent as one.

It writes the head and the body of an answer apart: two system calls here, and two packets of which each wakes whoever
reads. For a callback that costs as much as its token and its digest.
"""

import asyncio
from typing import Any


class JoinedWrites:
    """A transport that holds a first piece back until the next one, at most for this turn. What is written once it
    closes goes nowhere: uvicorn tells the last of several pipelined requests alone that the sender is gone, and
    uvloop raises for the others. All else is the transport's own."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes) -> None:
        """Send behind what is held, or hold."""
        if self._held:
            self._held += data
            self.flush()
        else:
            self._held = data
            # The end of the turn can be far off where many answers are due. An answer has a second piece, and waits for
            # that alone; this is for what has none, such as the head of a stream.
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what is held."""
        held, self._held = self._held, b""
        if held and not self._transport.is_closing():
            self._transport.write(held)

    def close(self) -> None:
        """Send what is held, and close."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        self._held = b""
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Bytes that the reader has not taken yet."""
        return self._transport.get_write_buffer_size() + len(self._held)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
