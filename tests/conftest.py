"""No test is timed: how long a generated case takes says more of the machine's other work than of the code."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
