"""That memory which a thread has freed leaves the process."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from threading import Thread

import pytest

from api.heap import give_back_memory

BLOCK_BYTES, BLOCKS = 4096, 20_000


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc keeps what is freed; others are not asked")
def test_memory_that_a_thread_has_freed_is_given_back() -> None:
    kept: list[bytes] = []

    def work() -> None:
        blocks = [bytes(BLOCK_BYTES) for _ in range(BLOCKS)]
        # The last one stands at the end of the heap, so that the C library gives nothing back by itself.
        kept.append(blocks[-1])

    worker = Thread(target=work)
    worker.start()
    worker.join()
    before = resident_bytes()
    assert give_back_memory()
    assert before - resident_bytes() > 0.5 * BLOCK_BYTES * BLOCKS
