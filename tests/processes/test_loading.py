"""What a command loads before it does anything."""

import subprocess
import sys


def test_a_short_command_loads_no_web_framework() -> None:
    loaded = "import sys, app.cli; print(*sorted({'fastapi', 'starlette', 'uvicorn'} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
