"""Ctrl-C once is asked for, twice ends at once, and afterwards it is as before."""

from __future__ import annotations

import signal

import pytest

from api.interrupts import interruptible


def test_once_is_a_question_and_twice_the_end() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruptible() as is_interrupted:
        assert not is_interrupted()
        signal.raise_signal(signal.SIGINT)
        assert is_interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
