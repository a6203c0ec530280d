"""What solver calls gave that the clock ended: the one thing in a plan that does not follow from its problem.

A call that runs to its end gives the same answer whenever it is made. One that a time limit ends gives whatever was
found by then, on that machine, in that minute. With these answers beside the problem, a plan can be made again to the
last bit.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping

import numpy as np

from optimizer.errors import InvalidInput
from optimizer.planning.highs import SolveEnd, SolverAnswer

Tape = Mapping[int, SolverAnswer]
"""Answers of calls that the clock ended, by the number of the call in its planning run, from 0."""


def tape_text(tape: Tape) -> str:
    """The answers as text, equal in every digit; the empty text where there are none."""
    if not tape:
        return ""
    calls = [
        {
            "call": call,
            "has_values": answer.has_values,
            "objective": answer.objective,
            "bound": answer.bound,
            "columns": len(answer.values) if answer.has_values else 0,
            "rows": len(answer.row_duals),
        }
        for call, answer in tape.items()
    ]
    values = b"".join(answer.values.astype("<f8").tobytes() for answer in tape.values() if answer.has_values)
    return b64encode(zlib.compress(json.dumps(calls).encode() + b"\n" + values, level=1)).decode()


def tape_of(text: str) -> Tape:
    """Read what `tape_text` wrote.

    Raises:
        InvalidInput: It is something else.
    """
    if not text:
        return {}
    try:
        head, _, values = zlib.decompress(b64decode(text, validate=True)).partition(b"\n")
        numbers = np.frombuffer(values, dtype="<f8")
        tape, first = {}, 0
        for call in json.loads(head):
            last = first + call["columns"]
            tape[int(call["call"])] = SolverAnswer(
                end=SolveEnd.LIMIT,
                has_values=call["has_values"],
                values=np.array(numbers[first:last]),
                row_duals=np.zeros(call["rows"]),
                objective=float(call["objective"]),
                bound=float(call["bound"]),
                solve_s=0.0,
                by_clock=True,
            )
            first = last
    except (ValueError, KeyError, TypeError, zlib.error, Base64Error) as error:
        raise InvalidInput("tape", text[:40], f"give what was recorded with the plan: {error}") from error
    return tape
