"""Faults of a process: how it drains, who is woken, whose clock is believed, what the databases promise."""

from typing import Final

from tests.mutants.mutation import Mutation

DRAIN: Final = (
    Mutation(
        "drain-stays-ready",
        "drain",
        "app/gateway.py",
        "        self.health.draining = True\n",
        "",
        "a process that drains is not ready",
        ("tests/stories/operations/test_operations.py", "tests/processes/test_ends.py"),
    ),
    Mutation(
        "drain-does-not-wait",
        "drain",
        "app/main.py",
        "            await asyncio.wait([serving], timeout=settings.drain_s)\n",
        "",
        "after the signal it serves on until it is out of turn",
        ("tests/processes/test_ends.py",),
    ),
    Mutation(
        "drain-drops-what-is-sent",
        "drain",
        "app/gateway.py",
        "        await self.dispatcher.finish(min(submit_timeout_s, MOST_FINISH_S))\n",
        "        await self.dispatcher.finish(0)\n",
        "what is being sent comes to its end",
        ("tests/processes/test_ends.py",),
    ),
    Mutation(
        "drain-holds-waits",
        "drain",
        "app/watching/waits.py",
        "            for waiter in waiters:\n                self._end(task_id, waiter)\n",
        "            for waiter in waiters:\n                waiter.due = True\n",
        "who waits is answered when the process drains",
        ("tests/stories/watching/test_wait.py", "tests/processes/test_watch_processes.py"),
    ),
    Mutation(
        "drain-claims-on",
        "drain",
        "app/gateway.py",
        "        self.dispatcher.stopping = self.notifier.stopping = True\n",
        "        self.dispatcher.stopping, self.notifier.stopping = False, True\n",
        "a process that drains claims nothing more",
        ("tests/stories/submissions/test_draining.py",),
    ),
    Mutation(
        "loop-dies-of-an-error",
        "drain",
        "app/runtime/loops.py",
        '                log.error("loop.failed", loop=loop.name, exc_info=error)\n',
        '                log.error("loop.failed", loop=loop.name, exc_info=error)\n                return\n',
        "a loop that failed is started again",
        ("tests/rules/runtime/test_loops.py",),
    ),
)

WATCHING: Final = (
    Mutation(
        "stream-resumes-from-now",
        "watching",
        "app/watching/streams.py",
        "        self._position = min(resume_at, now) if resume_at is not None else now\n",
        "        self._position = now\n",
        "a stream goes on where its reader was",
        ("tests/stories/watching/test_resuming.py",),
    ),
    Mutation(
        "playable-is-final",
        "watching",
        "app/watching/waits.py",
        "    return until is Until.PLAYABLE and has_extras and head.status is TaskStatus.MAIN_SUCCEEDED\n",
        "    return has_extras and head.status is TaskStatus.MAIN_SUCCEEDED\n",
        "who waits for the end is not answered before it",
        ("tests/stories/watching/test_wait.py",),
    ),
)

CLOCKS: Final = (
    Mutation(
        "skew-one-way",
        "clocks",
        "app/operations/clock_skew.py",
        "    if abs(skew_s) >= STOP_S:\n",
        "    if skew_s >= STOP_S:\n",
        "a clock that is ten seconds off either way stops the loops",
        ("tests/database/test_clock_skew.py",),
    ),
    Mutation(
        "skew-of-a-clock-that-was-set",
        "clocks",
        "app/operations/clock_skew.py",
        "        return self.level is Level.TOO_FAR_OFF or self._was_set()\n",
        "        return self.level is Level.TOO_FAR_OFF\n",
        "a clock that was set is measured before a loop goes by it",
        ("tests/database/test_clock_skew.py",),
    ),
)

DATABASES: Final = (
    Mutation(
        "sqlite-loops-first",
        "databases",
        "app/database/sqlite.py",
        "        return lanes[0]\n",
        "        return lanes[-1]\n",
        "callbacks come before loops at the one writer (SQLite)",
        ("tests/database/test_transactions.py",),
    ),
    Mutation(
        "sqlite-not-durable",
        "databases",
        "app/database/sqlite.py",
        '            "synchronous = FULL",\n',
        '            "synchronous = NORMAL",\n',
        "what was committed outlives the machine (SQLite)",
        ("tests/database/test_transactions.py",),
    ),
    Mutation(
        "deadlock-is-the-end",
        "databases",
        "app/database/database.py",
        '_AGAIN: Final = frozenset({"40P01", "40001"})\n',
        '_AGAIN: Final = frozenset({"40001"})\n',
        "a deadlock's victim is run again (PostgreSQL)",
        ("tests/database/test_transactions.py",),
    ),
)

RUNTIME: Final = (*DRAIN, *WATCHING, *CLOCKS, *DATABASES)
