"""Times that cannot pass faster than on the wall: what an accelerated clock must leave to network and processor."""

from __future__ import annotations

from dataclasses import replace

from optimizer.control.settings import ControlSettings
from optimizer.ports import Clock

LEAST_JOB_WALL_S = 0.5
"""Least period of the work beside control on the wall [s]."""


# A guard step reads the store, and a station's answer crosses a network and two event loops, however fast the clock
# runs. Least times on the wall [s].
GUARD_PERIOD_WALL_S = 0.05
REPLAN_GATHER_WALL_S = 0.02
REPLY_PATIENCE_WALL_S = 0.25
ANSWER_TIMEOUT_WALL_S = 2.0
UNANSWERED_RETRY_WALL_S = 1.0


def settings_at_pace(settings: ControlSettings, clock: Clock) -> ControlSettings:
    """The settings with those times raised that would be too short on the wall; real time changes nothing.

    Args:
        settings: Choices about control, in seconds of ``clock``.
        clock: The service's clock.
    """
    clock_s_per_wall_s = 1.0 / clock.wall_seconds(1.0)
    if clock_s_per_wall_s <= 1.0:
        return settings

    def at_least(period_s: float, wall_s: float) -> float:
        return max(period_s, wall_s * clock_s_per_wall_s)

    return replace(
        settings,
        guard_period_s=at_least(settings.guard_period_s, GUARD_PERIOD_WALL_S),
        replan_gather_s=at_least(settings.replan_gather_s, REPLAN_GATHER_WALL_S),
        reply_patience_s=at_least(settings.reply_patience_s, REPLY_PATIENCE_WALL_S),
        answer_timeout_s=at_least(settings.answer_timeout_s, ANSWER_TIMEOUT_WALL_S),
        unanswered_retry_s=at_least(settings.unanswered_retry_s, UNANSWERED_RETRY_WALL_S),
    )
