"""The load generator's process: writes ready-made requests to raw sockets and times the answers.

It must cost little, since it shares the machine with what it measures: requests are made before the run, answers
are hardly parsed, and nothing is written until the end.
"""

import asyncio
import gc
import json
import random
import resource
import sys
import time
from array import array
from collections import Counter, deque
from dataclasses import asdict
from typing import Any

import uvloop

from benchmarks import bodies
from benchmarks.bodies import Batch
from benchmarks.load import HOST, STRAGGLERS_S, Spec, Summary, times


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    __slots__ = ("_buffer", "_run", "busy", "since", "transport")

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._buffer = b""
        self.busy = False
        self.since = 0.0
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self, request: bytes, since: float) -> None:
        """Send a request, timed from ``since``."""
        self.busy, self.since = True, since
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        head = data.find(b"\r\n\r\n")
        at = data.find(b"content-length: ", 0, head)
        if head < 0 or at < 0 or len(data) < head + 4 + int(data[at + 16 : data.find(b"\r\n", at)]):
            self._buffer = data
            return
        self._buffer = b""
        self.busy = False
        self._run.answered(self, data[9:12])

    def connection_lost(self, _error: Exception | None) -> None:
        self._run.lost(self)


class Run:
    """One run: its connections, what is sent next, and what was seen."""

    def __init__(self, spec: Spec, requests: list[bytes]) -> None:
        self._spec = spec
        self._requests = requests
        self._next = 0
        self._live: set[Connection] = set()
        self._idle: deque[Connection] = deque()
        self._overdue: deque[float] = deque()
        self._under_way = 0
        self._from = self._to = 0.0
        self._ok, self._refused, self._late = array("d"), array("d"), array("d")
        self._statuses: Counter[str] = Counter()
        self._errors = self._waited = 0
        self._ran_out = False
        self._sent_all = False
        self._done = asyncio.Event()
        self._reopening: set[asyncio.Task[None]] = set()
        self._arrivals = random.Random(spec.batch.seed)
        self._due = 0.0

    async def run(self) -> Summary:
        spec = self._spec
        for _ in range(spec.connections):
            await self._open()
        loop = asyncio.get_running_loop()
        begin = time.perf_counter()
        self._from, self._to = begin + spec.warm_s, begin + spec.warm_s + spec.run_s
        cpu: list[float] = []
        loop.call_later(spec.warm_s, lambda: cpu.append(_cpu_s()))
        loop.call_later(spec.warm_s + spec.run_s, self._end)
        if spec.rate is None:
            for connection in list(self._live):
                self._send(connection, time.perf_counter())
        else:
            self._due = begin
            self._tick()
        await asyncio.wait_for(self._done.wait(), spec.warm_s + spec.run_s + STRAGGLERS_S + 5)
        spent = _cpu_s() - cpu[0] if cpu else 0.0
        for connection in self._live:
            connection.transport.abort()
        return self._summary(spent)

    def answered(self, connection: Connection, status: bytes) -> None:
        now = time.perf_counter()
        self._under_way -= 1
        # A closed loop counts the answers of its window, an open one the answers to what was due in it.
        moment = now if self._spec.rate is None else connection.since
        if self._from <= moment <= self._to:
            text = status.decode()
            self._statuses[text] += 1
            if text == "200":
                self._ok.append(now - connection.since)
            elif text == "503":
                self._refused.append(now - connection.since)
        if self._overdue:
            self._send(connection, self._overdue.popleft())
        elif self._spec.rate is None and not self._sent_all:
            self._send(connection, now)
        else:
            self._idle.append(connection)
            self._check_end()

    def lost(self, connection: Connection) -> None:
        self._live.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._done.is_set():
            return
        if connection.busy:
            self._errors += 1
            self._under_way -= 1
        task = asyncio.ensure_future(self._reopen())
        self._reopening.add(task)
        task.add_done_callback(self._reopening.discard)
        self._check_end()

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self), HOST, self._spec.port)
        self._live.add(connection)
        if self._spec.rate is not None:
            self._idle.append(connection)

    async def _reopen(self) -> None:
        before = set(self._live)
        try:
            await self._open()
        except OSError:
            return
        if self._spec.rate is None and not self._sent_all:
            for connection in self._live - before:
                self._send(connection, time.perf_counter())

    def _send(self, connection: Connection, since: float) -> None:
        if self._next == len(self._requests):
            if not self._spec.repeat:
                self._run_out()
                self._idle.append(connection)
                return
            self._next = 0
        request = self._requests[self._next]
        self._next += 1
        self._under_way += 1
        connection.send(request, since)

    def _tick(self) -> None:
        """Send what is due, and come back when the next one is."""
        assert self._spec.rate is not None
        if self._sent_all:
            return
        now = time.perf_counter()
        while self._due <= now:
            if self._idle:
                self._send(self._idle.popleft(), self._due)
            else:
                self._overdue.append(self._due)
                self._waited += 1
            if self._due >= self._from:
                self._late.append(time.perf_counter() - self._due)
            self._due += self._arrivals.expovariate(self._spec.rate)
        asyncio.get_running_loop().call_later(self._due - now, self._tick)

    def _run_out(self) -> None:
        if not self._ran_out:
            self._ran_out = True
            self._to = min(self._to, time.perf_counter())
            self._end()

    def _end(self) -> None:
        self._sent_all = True
        if self._spec.rate is None:
            self._done.set()
        else:
            asyncio.get_running_loop().call_later(STRAGGLERS_S, self._done.set)
            self._check_end()

    def _check_end(self) -> None:
        if self._sent_all and not self._under_way and not self._overdue:
            self._done.set()

    def _summary(self, cpu_s: float) -> Summary:
        seconds = max(self._to - self._from, 1e-9)
        return Summary(
            seconds=seconds,
            accepted_per_s=len(self._ok) / seconds,
            ok=times(self._ok),
            refused=times(self._refused),
            late=times(self._late),
            statuses=dict(self._statuses),
            errors=self._errors + self._under_way * (self._spec.rate is not None),
            waited=self._waited,
            cpu=cpu_s / seconds,
            ran_out=self._ran_out,
            sizes=sorted(len(one) for one in self._requests[:: max(len(self._requests) // 200, 1)]),
        )


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Read a spec from standard input, run it, and write what was seen to standard output."""
    given = json.load(sys.stdin)
    spec = Spec(**(given | {"batch": Batch(**given["batch"])}))
    requests = bodies.requests(spec.batch, f"{HOST}:{spec.port}")
    # Nothing that a run makes is cyclic; a collection would only delay the requests that are due meanwhile.
    gc.collect()
    gc.freeze()
    gc.disable()

    async def run() -> Summary:
        return await Run(spec, requests).run()

    json.dump(asdict(uvloop.run(run())), sys.stdout)


if __name__ == "__main__":
    main()
