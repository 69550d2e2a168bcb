"""The server that the subjects beside the gateway run on: the gateway's own, with the same settings."""

import gc
import sys

import uvloop
from starlette.types import ASGIApp

from app.main import listen, make_server


def serve_forever(app: ASGIApp) -> None:
    """Serve on the port that the command line names, until the process is ended."""
    port = int(sys.argv[1])
    server = make_server(app, host="127.0.0.1", port=port)
    listener = listen("127.0.0.1", port)
    gc.collect()
    gc.freeze()
    uvloop.run(server.serve([listener]))
