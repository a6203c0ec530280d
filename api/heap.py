"""Memory that is free and that the C library keeps: given back to the system after work that took much of it.

A plan for thousands of vehicles takes hundreds of megabytes for a few seconds. glibc keeps what threads have freed for
the next time, and each thread that ever planned keeps its own: without giving it back the service grows by as much for
each of them.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache


def give_back_memory() -> bool:
    """Give free memory back to the system; whether any was given. Does nothing where the C library cannot."""
    trim = _trim()
    return trim is not None and bool(trim(0))


@cache
def _trim() -> Callable[[int], int] | None:
    """The C library's function that does it; only glibc has one."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
