"""Programs that are run to their end, as children of the test's process."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """How a program ended. ``text`` is all that it printed."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


async def run_program(
    *command: str | Path, env: Mapping[str, str], cwd: Path, timeout_s: float = 120, apart: bool = True
) -> Ended:
    """Run a program that reads nothing. One that has not ended after ``timeout_s`` is killed, and ``TimeoutError``
    raised. Unless ``apart``, its errors are in ``out``, where they came."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=dict(env),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE if apart else asyncio.subprocess.STDOUT,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), timeout_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), (err or b"").decode())
