"""What a child process runs: the command line as it is, tied to the life of its parent.

The parent holds the other end of standard input and never writes to it. When the parent is gone, for whatever
reason, the end of that stream is read here, and the child ends too.
"""

import os
import runpy
import signal
import sys
import threading
import time
from typing import Final

GRACE_S: Final = 5.0


def main() -> None:
    """Run ``tempolor-gateway`` with the arguments given."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    runpy.run_module("app", run_name="__main__")


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    sys.argv[0] = "tempolor-gateway"
    main()
