"""What is kept until it is acknowledged."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from scenarios.outbox import Outbox, OutgoingCall


@pytest.fixture
def calls() -> Callable[..., OutgoingCall]:
    numbers = count()

    def make(*, durable: bool, **more: Any) -> OutgoingCall:
        nothing: Any = lambda _: None  # noqa: E731
        return OutgoingCall(
            f"m{next(numbers)}", "Action", dict, durable, more.get("answered", nothing), more.get("failed", nothing)
        )

    return make


def test_the_outbox_keeps_what_is_durable(calls: Callable[..., OutgoingCall]) -> None:
    outbox, failures = Outbox(), []
    kept, lost = calls(durable=True), calls(durable=False, failed=failures.append)
    outbox.add(lost)
    outbox.add(kept)
    assert outbox.head is lost
    outbox.drop_volatile("offline")
    assert failures == ["offline"]
    assert outbox.head is kept


def test_a_late_answer_counts_and_a_second_one_does_not(calls: Callable[..., OutgoingCall]) -> None:
    outbox, answers = Outbox(), []
    call = calls(durable=True, answered=answers.append)
    outbox.add(call)
    assert not outbox.acknowledge(call.message_id, {}), "it was never sent"
    call.attempts = 2
    outbox.expire(call.message_id)
    assert outbox.head is call
    assert outbox.acknowledge(call.message_id, {"a": 1})
    assert not outbox.acknowledge(call.message_id, {"a": 1})
    assert (answers, len(outbox)) == ([{"a": 1}], 0)


def test_what_is_refused_again_and_again_is_given_up_and_kept_aside(calls: Callable[..., OutgoingCall]) -> None:
    outbox, failures = Outbox(refusals_until_dropped=3), []
    call = calls(durable=True, failed=failures.append)
    call.attempts = 1
    outbox.add(call)
    for _ in range(3):
        assert outbox.head is call
        outbox.refuse(call.message_id, "InternalError")
    assert outbox.dropped == [call]
    assert failures == ["InternalError"]


def test_the_payload_is_written_once(calls: Callable[..., OutgoingCall]) -> None:
    numbers = count()
    call = OutgoingCall("m", "Action", lambda: {"n": next(numbers)}, True, lambda _: None, lambda _: None)
    assert call.payload == call.payload == {"n": 0}


def test_of_what_waits_unsent_only_the_newest_of_a_topic_is_kept(calls: Callable[..., OutgoingCall]) -> None:
    outbox = Outbox()
    sent, old, other, new = (calls(durable=False) for _ in range(4))
    sent.topic = old.topic = new.topic = "idle 1"
    sent.attempts = 1
    for call in (sent, old, other, new):
        outbox.add(call)
    waiting = []
    while (call := outbox.head) is not None:
        call.attempts += 1
        outbox.acknowledge(call.message_id, {})
        waiting.append(call)
    assert waiting == [sent, other, new]
