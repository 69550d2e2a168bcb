"""A process that has loaded the gateway, and forks one that runs it for each message on its channel (``forked``).

A message is the arguments, environment and folder of a process, with the files that its output and its errors go to.
The answer is its id; when it has ended, its exit code follows. Once the channel is closed, all of them are killed.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
from typing import Any, Final

# What ``serve`` and ``worker`` load when they are called.
import uvloop  # noqa: F401

import app.main
import app.settings  # noqa: F401
from app.cli import main

MOST_BYTES: Final = 200_000


def serve(channel: socket.socket) -> list[str]:
    """Fork until the channel is closed. Returns in each forked process alone, with its arguments."""
    gc.collect()
    gc.freeze()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    living: set[int] = set()
    channel.send(b"{}")
    while True:
        ready, _, _ = select.select([channel.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _report_ended(channel, living)
        if channel.fileno() not in ready:
            continue
        message, files, _, _ = socket.recv_fds(channel, MOST_BYTES, 2)
        if not message:
            for pid in living:
                os.kill(pid, signal.SIGKILL)
            sys.exit()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(woken)
            os.close(wake)
            channel.close()
            return _become(json.loads(message), files)
        living.add(pid)
        for file in files:
            os.close(file)
        channel.send(json.dumps({"forked": pid}).encode())


def _report_ended(channel: socket.socket, living: set[int]) -> None:
    while living:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        living.discard(pid)
        with contextlib.suppress(BrokenPipeError):
            channel.send(json.dumps({"ended": pid, "code": os.waitstatus_to_exitcode(status)}).encode())


def _become(given: dict[str, Any], files: list[int]) -> list[str]:
    """Take on environment, folder and output; the arguments."""
    for file, standard in zip(files, (1, 2), strict=True):
        os.dup2(file, standard)
        os.close(file)
    os.chdir(given["cwd"])
    os.environ.clear()
    os.environ.update(given["env"])
    arguments: list[str] = given["arguments"]
    return arguments


if __name__ == "__main__":
    main(serve(socket.socket(fileno=int(sys.argv[1]))))
