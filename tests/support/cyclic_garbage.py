"""What only the collector of cycles would free."""

import contextlib
import gc
import types
from collections.abc import Iterator


@contextlib.contextmanager
def garbage_of(*functions: str) -> Iterator[list[str]]:
    """The frames of these functions that are part of a cycle, or held by one, when the block has ended."""
    held: list[str] = []
    gc.collect()
    gc.disable()
    try:
        yield held
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        held += [
            one.f_code.co_name
            for one in gc.garbage
            if isinstance(one, types.FrameType) and one.f_code.co_name in functions
        ]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
