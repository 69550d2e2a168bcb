"""Join the two writes of a response, its head and its body, into one system call and one packet.

Uvicorn writes them apart, within one iteration of the event loop; each packet wakes the reader. For a callback that
costs as much as its token and its digest.
"""

import asyncio
from typing import Any


class JoinedWrites:
    """A transport that buffers a first write until the next one, at most for this iteration of the loop. Writes once it
    closes are dropped: uvicorn tells only the last of several pipelined requests that the sender is gone, and uvloop
    raises for the others. All else is the transport's own."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._buffer = b""

    def write(self, data: bytes) -> None:
        """Send a second write with the first, or buffer the first."""
        if self._buffer:
            self._buffer += data
            self.flush()
        else:
            self._buffer = data
            # The end of the iteration can be far off where many responses are due. A response has a second write, and
            # waits for that alone; this is for what has none, such as the head of a stream.
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what is buffered."""
        buffer, self._buffer = self._buffer, b""
        if buffer and not self._transport.is_closing():
            self._transport.write(buffer)

    def close(self) -> None:
        """Send what is buffered, and close."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        self._buffer = b""
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Bytes that the reader has not taken yet."""
        return self._transport.get_write_buffer_size() + len(self._buffer)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
