"""Shell blocks in a bash of their own, with what they leave open filled in."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.docs.pages import Block

_FAIL_WITH_HTTP = 'fail-with-body\nshow-error\nnoproxy = "*"\nmax-time = 70\n'


def filled(text: str, gateway: str, sandbox: str, key: str) -> str:
    """A block with addresses (``host:port``) and a key in place of those that a reader puts in."""
    for port, address in (("8000", gateway), ("9000", sandbox)):
        text = re.sub(rf"\b(?:localhost|127\.0\.0\.1):{port}\b", address, text)
        text = re.sub(rf"--port {port}\b", f"--port {address.rpartition(':')[2]}", text)
    return re.sub(r"^KEY=….*$", f"KEY={key}", text, flags=re.MULTILINE)


def script(parts: Sequence[Block]) -> str:
    """One script of several blocks, in which any command that fails ends it and is named."""
    head = "set -eEuo pipefail\ntrap 'echo \"FAILED: $BASH_COMMAND\" >&2' ERR\n"
    return head + "".join(f'echo "--- {one}" >&2\n{one.text}\n' for one in parts)


def _end(process: asyncio.subprocess.Process) -> None:
    """The shell, and whatever it left in the background."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


async def run(text: str, env: Mapping[str, str], cwd: Path, timeout_s: float = 120) -> tuple[int, str]:
    """Run a script to its end. Returns its exit code and what it said."""
    said = cwd / "said.log"  # no pipe: what is left in the background would hold it open
    with said.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", text, env=dict(env), cwd=cwd, start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=file,
        )  # fmt: skip
    try:
        code = await asyncio.wait_for(process.wait(), timeout_s)
    except TimeoutError:
        raise AssertionError(f"not ended after {timeout_s:g} s:\n{said.read_text()}") from None
    finally:
        _end(process)
    return code, said.read_text()


async def run_until(text: str, sign: str, env: Mapping[str, str], cwd: Path, timeout_s: float = 30) -> None:
    """Run a script that does not end by itself until it has printed ``sign``, then end it."""
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", text, env=dict(env), cwd=cwd, start_new_session=True,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said = bytearray()
    assert process.stdout is not None
    try:
        async with asyncio.timeout(timeout_s):
            while sign not in said.decode(errors="replace"):
                more = await process.stdout.read(4096)
                assert more, f"ended without {sign!r}:\n{said.decode()}"
                said += more
    finally:
        _end(process)
        await process.wait()


def environment(
    cwd: Path, settings: Mapping[str, str], *, strict_curl: bool = True, **variables: str
) -> dict[str, str]:
    """What a reader's shell has: the commands of this project, its settings, and a curl that takes no HTTP error
    for a success unless ``strict_curl`` is off (a block that uses ``--fail`` itself)."""
    (cwd / ".curlrc").write_text(_FAIL_WITH_HTTP if strict_curl else 'noproxy = "*"\n')
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    return {**settings, "PATH": path, "HOME": str(cwd), "CURL_HOME": str(cwd), "NO_COLOR": "1", **variables}
