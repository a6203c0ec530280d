"""Holds what truly flows to the limits, and asks of every excess whose fault it is.

An excess counts as control's while there is something left to cut: an EVSE that obeys, is connected, and draws.

    limit  ──────────┬─────────────────────
    flows  ──────────┘~~~~~~~~~╮
                      ^ building switched on
                      |<------>| at most the reaction time

And it must not begin with an increase of ours: with the limit and all other vehicles as they were when the increase was
sent, and the building as a reading of it could show it, what flows then must fit.

    building  ______________|~~~~~~~~      the reading may be as old as control permits for raises:
    reading   v     v     v     v          what was switched on after it is not the increase's fault,
    raise                     ^            what was switched on before that age is
              |<--- age ----->|
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from optimizer.domain.ids import EvseId
from optimizer.domain.site import ALL_PHASES, Site
from scenarios.limit_audit import BaseFlow, Draw, LimitAudit, Violation

ON_ITS_WAY = timedelta(seconds=1)
"""Between a look at the reading and the limit that leaves, everything has been stored."""
EFFECT_WITHIN = timedelta(seconds=120)
"""An increase that was sent longer ago than this has had its effect."""


@dataclass(frozen=True, slots=True)
class WrongIncrease:
    """An increase that led above a limit by itself."""

    what: str
    """Which limit."""
    evse_id: EvseId
    """Whose increase."""
    sent_at: datetime
    """When it was sent [UTC]."""
    at: datetime
    """When the excess began [UTC]."""
    value: float
    """What would flow with all else as it was, in the unit of ``what``."""
    limit: float
    """The limit, in the same unit."""


@dataclass(frozen=True, slots=True)
class Sent:
    """An increase, and what was true when it was sent."""

    evse_id: EvseId
    """Whose."""
    at: datetime
    """When [UTC]."""
    draws: Mapping[EvseId, Draw]
    """What every EVSE drew, or was permitted by us where it obeys."""
    base: BaseFlow
    """The least that flowed besides since the reading can have been taken by which it was granted."""
    permits_a: float
    """What it permits [A]; what draws more has still to take it up."""


class FaultAudit(LimitAudit):
    """Judges the limits of a run.

    Args:
        site: What stands there.
        is_in_hand: Whether an EVSE that draws could be told now to draw less, and would do so.
        reading_age: How old the reading of the site meter may be by which control raises a limit.
    """

    def __init__(self, site: Site, is_in_hand: Callable[[EvseId], bool], reading_age: timedelta) -> None:
        super().__init__(site)
        self._is_in_hand = is_in_hand
        self._reading_age = reading_age
        self._bases: deque[tuple[datetime, BaseFlow]] = deque()
        self._site = site
        self._place_of = {
            f"{circuit.id} {phase}, {circuit.limit_source} [A]": (circuit.id, index)
            for circuit in site.circuits
            for index, phase in enumerate(ALL_PHASES)
        }
        self.draws: dict[EvseId, Draw] = {}
        self.base = BaseFlow(0.0, 0.0, 0.0, 0.0)
        self._sent: list[Sent] = []
        self._running: dict[str, Violation] = {}
        self._longest: dict[str, Violation] = {}
        self._over: set[str] = set()
        self.wrong_increases: list[WrongIncrease] = []

    @property
    def longest(self) -> Violation | None:
        """The longest excess in which something could have been cut."""
        every = [*self._longest.values(), *self._running.values()]
        return max(every, key=lambda one: one.duration_s, default=None)

    def root_currents_a(self) -> tuple[float, float, float]:
        """Currents on L1, L2, L3 of the connection now [A]."""
        phasors = [unit * self.base.net_kw for unit in self._base_a_per_kw]
        for evse_id, draw in self.draws.items():
            unit = self._unit_a_per_kw[evse_id, draw.current_paths]
            phasors = [total + share * draw.power_kw for total, share in zip(phasors, unit, strict=True)]
        return abs(phasors[0]), abs(phasors[1]), abs(phasors[2])

    def least_base(self, at: datetime) -> BaseFlow:
        """The least that flowed besides the EVSEs at any instant of which a reading may be believed at ``at``."""
        while self._bases and self._bases[0][0] < at - self._reading_age - ON_ITS_WAY:
            self._bases.popleft()
        return min([self.base, *(base for _, base in self._bases)], key=lambda base: base.net_kw)

    def note_increase(self, sent: Sent) -> None:
        """We tell an EVSE that it may draw more."""
        self._sent = [one for one in self._sent if sent.at - one.at <= EFFECT_WITHIN]
        self._sent.append(sent)

    def note(self, at: datetime, after: datetime, draws: Mapping[EvseId, Draw], base: BaseFlow) -> None:
        """Judge ``[at, after)``, in which nothing changes."""
        exceeded = self.exceeded_by(at, draws, base)
        self._keep(at, after, exceeded)
        for what in exceeded.keys() - self._over:
            self._look_for_increase(what, at, draws, base)
        self._over = set(exceeded)
        in_hand = [evse_id for evse_id in draws if self._is_in_hand(evse_id)] if exceeded else []
        for what in [what for what in self._running if what not in exceeded]:
            self._end(what)
        for what, (value, limit) in exceeded.items():
            if not any(self._loads(what, evse_id, draws[evse_id]) for evse_id in in_hand):
                self._end(what)
                continue
            running = self._running.get(what)
            start, greatest = (running.start, running.greatest) if running else (at, value)
            self._running[what] = Violation(what, start, after, max(greatest, value), limit)
        self.draws, self.base = dict(draws), base
        if self._bases and self._bases[-1][1] == base:
            self._bases.pop()
        self._bases.append((after, base))

    def _end(self, what: str) -> None:
        done = self._running.pop(what, None)
        if done is not None and (what not in self._longest or done.duration_s > self._longest[what].duration_s):
            self._longest[what] = done

    def _loads(self, what: str, evse_id: EvseId, draw: Draw) -> bool:
        """Whether an EVSE is part of what a limit is about."""
        if what not in self._place_of:
            return True
        circuit, phase = self._place_of[what]
        evse = self._site.evses[evse_id]
        if circuit not in {one.id for one in self._site.circuits_above(evse.circuit_id)}:
            return False
        return abs(self._unit_a_per_kw[evse_id, draw.current_paths][phase]) > 0.0

    def _permitted_kw(self, sent: Sent, draw: Draw) -> float:
        return sent.permits_a * self._site.evses[sent.evse_id].voltage_v * draw.current_paths / 1000.0

    def _look_for_increase(self, what: str, at: datetime, draws: Mapping[EvseId, Draw], base: BaseFlow) -> None:
        risen = {
            evse_id
            for evse_id, draw in draws.items()
            if draw.power_kw > (self.draws[evse_id].power_kw if evse_id in self.draws else 0.0) + 1e-6
        }
        for sent in reversed(self._sent):
            if sent.evse_id not in risen or at - sent.at > EFFECT_WITHIN:
                continue
            if draws[sent.evse_id].power_kw > self._permitted_kw(sent, draws[sent.evse_id]) + 1e-6:
                continue
            ours = {one.evse_id for one in self._sent if one.at >= sent.at}
            as_it_was = {
                evse_id: draw if evse_id in ours else _lesser(draw, sent.draws.get(evse_id))
                for evse_id, draw in draws.items()
            }
            calm = base if base.net_kw <= sent.base.net_kw else sent.base
            then, now = self.exceeded_by(sent.at, as_it_was, calm), self.exceeded_by(at, as_it_was, calm)
            if what in then and what in now:
                value, limit = now[what]
                self.wrong_increases.append(WrongIncrease(what, sent.evse_id, sent.at, at, value, limit))
            return


def _lesser(now: Draw, then: Draw | None) -> Draw:
    if then is None:
        return Draw(0.0, now.current_paths)
    return now if now.power_kw <= then.power_kw else Draw(then.power_kw, now.current_paths)
