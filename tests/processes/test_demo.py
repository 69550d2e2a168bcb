"""The demo as people run it: a process of its own, watched from outside."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from app.tempolor.kinds import KINDS

LIMIT_S = 100
# As on many a desk. Nobody listens there, and some cannot be used at all: this machine is never asked through a proxy.
PROXIES = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "https_proxy": "http://proxy:port",
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "NO_PROXY": "[::1],fd07:b51a:cc66:f0::/64",
}


@contextmanager
def started(module: str, *arguments: str, scratch: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of this project whose temporary files go to ``scratch``; it and its children are gone afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            **os.environ,
            **PROXIES,
            "TMPDIR": str(scratch),
            "PYTHONUNBUFFERED": "1",
            "GATEWAY_DATABASE_URL": "nonsense",
        },
    )
    family = [psutil.Process(process.pid)]
    try:
        yield process
    finally:
        family += children_of(process)
        for one in family:
            if one.is_running():
                one.kill()
        process.wait(LIMIT_S)
        assert process.stdout is not None
        process.stdout.close()


def children_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def read_until(process: subprocess.Popen[str], words: str) -> list[str]:
    """The lines up to the one that holds these words."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError("".join(lines))


def test_every_task_of_the_demo_ends_well_and_each_fault_is_overcome(tmp_path: Path) -> None:
    with started("app", "demo", scratch=tmp_path) as process:
        shown, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, shown
    for kind in KINDS:
        assert any(line.split()[1:3] == [kind, "succeeded"] for line in shown.splitlines()), (kind, shown)
    assert "stems.create  (lost callback)\n    0.00 accepted · " in shown
    assert "lost answer, song.extend: the connection broke; unconfirmed for" in shown
    assert "early callback, instrumental.generate: audio_complete found its task" in shown
    assert "lost callback, stems.create: nobody called back; " in shown
    assert "7 submissions received, 7 taken; 12 callbacks sent, 12 acknowledged, 1 lost; " in shown
    assert "OK  all 7 tasks succeeded, each submitted once" in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_is_ended_early_leaves_no_child(tmp_path: Path, how: signal.Signals) -> None:
    with started("app", "demo", scratch=tmp_path) as process:
        read_until(process, "Submitting")
        children = children_of(process)
        assert len(children) == 2
        process.send_signal(how)
        code = process.wait(LIMIT_S)
        _, alive = psutil.wait_procs(children, timeout=20)
        assert alive == []
    if how is signal.SIGKILL:
        assert code == -how
    else:
        assert code == 128 + how
        assert list(tmp_path.iterdir()) == []


def test_a_demo_whose_gateway_dies_says_so_and_fails(tmp_path: Path) -> None:
    with started("app", "demo", scratch=tmp_path) as process:
        read_until(process, "Submitting")
        gateway = next(one for one in children_of(process) if "serve" in one.cmdline())
        gateway.kill()
        shown, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert "FAILED" in shown
    assert "OK" not in shown
    assert list(tmp_path.iterdir()) == []


def test_make_run_prints_a_key_that_works_and_ends_with_its_children(tmp_path: Path) -> None:
    with started("app.demo.processes", "--scale", "200", scratch=tmp_path) as process:
        words = "".join(read_until(process, "Ctrl-C")).split()
        url, key = words[words.index("gateway") + 1], words[words.index("key") + 1]
        [link] = [word for word in words if "/console/link#" in word]
        children = children_of(process)
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=20) as client:
            body = {"kind": "lyrics.generate", "params": {"prompt": "rain"}}
            task_id = client.post("/v1/tasks", json=body).json()["id"]
            end = time.monotonic() + 30
            while client.get(f"/v1/tasks/{task_id}").json()["status"] != "succeeded":
                assert time.monotonic() < end
                time.sleep(0.1)
            page, _, ticket = link.partition("#")
            with httpx.Client(trust_env=False, timeout=20) as browser:
                answers = [browser.post(page, data={"ticket": ticket}) for _ in range(2)]
                assert [answer.status_code for answer in answers] == [303, 401]
                assert "bootstrap" in browser.get(f"{url}/console/try/stems.create").text
            uploaded = client.post("/v1/uploads", content=b"ID3\x04" + bytes(2000))
            assert uploaded.status_code == 201
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 128 + signal.SIGINT
        assert process.stdout is not None
        # The link was printed, and nobody logs what signs in.
        assert ticket not in process.stdout.read()
        _, alive = psutil.wait_procs(children, timeout=20)
        assert alive == []
    assert list(tmp_path.iterdir()) == []


def test_the_sandbox_command_refuses_what_it_cannot_be(tmp_path: Path) -> None:
    for faults, words in (('{"callbacks": {"dorp": 1}}', "callbacks.dorp"), ("missing.json", "faults:")):
        with started("app", "sandbox", "--port", "0", "--faults", faults, scratch=tmp_path) as process:
            shown, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 1
        assert words in shown
        assert "Traceback" not in shown
