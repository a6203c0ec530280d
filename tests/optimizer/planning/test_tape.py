"""Answers that the clock ended, as text and back: every digit counts."""

from __future__ import annotations

from base64 import b64encode

import numpy as np
import pytest

from optimizer.errors import InvalidInput
from optimizer.planning.highs import SolveEnd, SolverAnswer
from optimizer.planning.tape import tape_of, tape_text


def answer(values: list[float], *, has_values: bool = True, bound: float = -1.5) -> SolverAnswer:
    return SolverAnswer(SolveEnd.LIMIT, has_values, np.array(values), np.zeros(2), 0.1 + 0.2, bound, 1.0, by_clock=True)


def test_answers_read_back_equal_in_every_digit() -> None:
    tape = {3: answer([0.1, -0.0, 1e-300, np.pi]), 7: answer([], has_values=False, bound=-np.inf), 9: answer([1 / 3])}
    read = tape_of(tape_text(tape))
    assert list(read) == [3, 7, 9]
    for call, one in read.items():
        assert one.values.tobytes() == tape[call].values.tobytes()
        assert (one.has_values, one.objective, one.bound) == (tape[call].has_values, 0.1 + 0.2, tape[call].bound)
        assert one.by_clock
        assert one.row_duals.tolist() == [0.0, 0.0]
    assert tape_text(read) == tape_text(tape)


def test_no_answers_are_no_text() -> None:
    assert tape_text({}) == ""
    assert tape_of("") == {}


@pytest.mark.parametrize(
    "text", ["a letter", "AAAA", b64encode(b"no zlib").decode()], ids=["no base64", "short", "no zlib"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="tape"):
        tape_of(text)
