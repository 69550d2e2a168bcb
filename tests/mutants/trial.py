"""Trials: tests run on a copy of the tree until one of them fails."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.mutants.mutation import Mutation
from tests.mutants.trees import Tree, copied

REST: Final = ("tests/rules", "tests/stories", "tests/database")
"""What is tried when the tests that a mutation names see nothing: the tiers of ``make test``."""
_FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (\S+?(?:\[.*?\])?)(?: - .*)?$", re.MULTILINE)
_STARTED: Final = re.compile(r"^(tests/\S+\.py::\S+?(?:\[.*\])?)(?<!%\]) *$", re.MULTILINE)
_NONE_RAN: Final = (4, 5)
"""pytest's exit codes where it found no test."""
_GRACE_S: Final = 20.0
_LOOK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Ran:
    """``failed``: the test that failed, or that did not end in time (``hung``); None: all passed."""

    failed: str | None
    hung: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a mutation. ``caught_by``: a test, None if it was missed; ``hung``: that did not end in time."""

    mutation: Mutation
    caught_by: str | None
    hung: bool
    seconds: float

    @property
    def said(self) -> str:
        return "MISSED" if self.caught_by is None else self.caught_by + (" (hangs)" if self.hung else "")


def tried(mutation: Mutation, original: Path, limit_s: float) -> Result:
    """Make a mutation in a copy of its own, and look for a test that notices it."""
    started = time.monotonic()
    with copied(original) as tree:
        (tree.root / mutation.file).write_text(mutation.mutated(original))
        ran = run(tree, mutation.tried, limit_s)
        if ran.failed is None:
            ran = run(tree, REST, limit_s, without=mutation.tried)
    return Result(mutation, ran.failed, ran.hung, time.monotonic() - started)


def unsound(results: Sequence[Result], original: Path, limit_s: float) -> list[str]:
    """Of the tests that caught something those that do not pass on the tree as it is: they prove nothing."""
    suspects = sorted({result.caught_by for result in results if result.caught_by is not None})
    found = []
    with copied(original) as tree:
        while suspects and (failed := run(tree, suspects, limit_s).failed) is not None:
            found.append(failed)
            suspects = [one for one in suspects if one != failed]
    return found


def run(tree: Tree, paths: Sequence[str], limit_s: float, without: Sequence[str] = ()) -> Ran:
    """Run tests up to the first that fails, or that has not ended after ``limit_s`` seconds."""
    plugins = ["-p", "no:cacheprovider", "-p", "tests.mutants.quick_failures"]
    options = ["-x", "-v", "-rfE", "--tb=no", *plugins, "-m", "not slow"]
    command = [str(tree.python), "-m", "pytest", *options, *(f"--deselect={one}" for one in without), *paths]
    log = tree.root.parent / "log"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "1000"}
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=tree.root, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = _ended(process, log, limit_s)
        except subprocess.TimeoutExpired:
            _end(process)
            return Ran(_started_last(log.read_text()) or " ".join(paths), hung=True)
        except BaseException:
            _end(process)
            raise
    text = log.read_text()
    if code == 0 or (code in _NONE_RAN and without):
        return Ran(None)
    found = _FAILED.search(text)
    if found is None:
        raise RuntimeError(f"pytest ended with {code} and named no test:\n{text[-2000:]}")
    return Ran(found[1])


def _ended(process: "subprocess.Popen[bytes]", log: Path, limit_s: float) -> int:
    """The exit code of tests that tell of each as it begins and ends. Raises ``TimeoutExpired`` where one does not."""
    told, since = 0, time.monotonic()
    while (code := process.poll()) is None:
        if (size := log.stat().st_size) > told:
            told, since = size, time.monotonic()
        elif time.monotonic() - since > limit_s:
            raise subprocess.TimeoutExpired(process.args, limit_s)
        time.sleep(_LOOK_S)
    return code


def _started_last(text: str) -> str | None:
    """The test of which only the beginning is told."""
    started: list[str] = _STARTED.findall(text)
    return started[-1] if started else None


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Let the tests end what they have started, such as a PostgreSQL; then end them."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
