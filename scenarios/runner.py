"""Replays a scenario: the service's own control step against a simulated site, on a virtual clock, in lock-step.

    next instant ──> clock ──> physics until now ──> plug-outs, meters, plug-ins, statements, announcements
        ^                                                                                    │
        └──────────── limits, at once and again when reductions are seen <── control step ───┘

An instant is a step of the scenario, or an event in between. Steps in which no car could draw anything are skipped.
Nothing waits for the wall's clock. The state of a replay is its stores, its plant and its place in the course of
events; control itself keeps nothing, so a replay that was interrupted goes on with a new controller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

from scenarios.outcomes import Course, StayOutcome
from scenarios.replay_state import PresentCar, ReplayState, kept_state
from scenarios.scenario import REMEMBERED, Scenario
from scenarios.stepped_control import SteppedControl
from scenarios.stopwatch import Spent, Stopwatch
from scenarios.strategies import UNCONTROLLED, Watcher, nobody_watches, strategy_of
from scenarios.timeline import Happening, HappeningKind, timeline_of

Progress = Callable[[float], None]
"""Is told which share of the time is replayed, 0..1."""

SEEN_AFTER = timedelta(seconds=10)
"""When the meters are read again where increases wait for reductions to be seen."""
DAY = timedelta(days=1)
KEPT_EVERY_S = 20.0
"""Wall time between two states kept in a file [s]."""
REPLANNING = {
    HappeningKind.DEPARTURE: "plug-out",
    HappeningKind.ARRIVAL: "plug-in",
    HappeningKind.STATEMENT: "statement",
    HappeningKind.RESERVATION: "reservation",
    HappeningKind.GRID_EVENT: "grid event announced",
    HappeningKind.EDGE: "grid event",
}
"""What leads to a new plan, and what the plan then names as its trigger."""


class VirtualClock:
    """Time that stands still until the replay moves it."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        """Now [UTC]."""
        return self._now

    def move_to(self, instant: datetime) -> None:
        """It is now ``instant``."""
        self._now = instant

    async def sleep(self, seconds: float) -> None:  # noqa: ARG002 - only the replay moves time
        """Let others run once; nobody waits in lock-step."""
        await asyncio.sleep(0)

    def wall_seconds(self, seconds: float) -> float:
        """How long ``seconds`` last on the wall, for timers that never run out here [s]."""
        return seconds


def never() -> bool:
    """Nobody interrupts."""
    return False


def not_told(share: float) -> None:
    """Nobody is told."""


def run_course(
    scenario: Scenario,
    strategy: str,
    *,
    on_progress: Progress = not_told,
    is_interrupted: Callable[[], bool] = never,
    kept_in: Path | None = None,
    resume: bool = False,
    on_plan: Watcher = nobody_watches,
) -> Course:
    """Live through a scenario and tell what happened.

    Args:
        scenario: What happens.
        strategy: What plans.
        on_progress: Is told which share of the time is replayed.
        is_interrupted: Asked at every instant; when true the replay ends with what it has.
        kept_in: File in which the state is kept now and then, when interrupted and at the end; ``None``: nowhere.
        resume: Whether to go on from the state in that file, where there is one.
        on_plan: Is told each problem that was planned, and what came of it.

    Raises:
        InvalidInput: There is no such strategy, or the kept state is of something else.
    """
    watch = Stopwatch()
    if resume and kept_in is not None and kept_in.exists():
        state = kept_state(kept_in, scenario, strategy)
        is_new = False
    else:
        state, is_new = ReplayState(scenario, strategy, VirtualClock(scenario.start)), True
    watch.go_on_from(state.spent)
    replay = _Replay(scenario, strategy, state, on_plan, is_new=is_new)
    if not replay.state.is_over:
        _run(replay.run(on_progress, is_interrupted, kept_in, watch))
    return replay.course(watch.spent)


def _run(work: Coroutine[None, None, None]) -> None:
    """Run to the end; beside a loop that runs already, as in a notebook, in a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(max_workers=1) as beside:
        beside.submit(asyncio.run, work).result()


class _Replay:
    """A replay that is going on."""

    def __init__(
        self, scenario: Scenario, strategy: str, state: ReplayState, on_plan: Watcher, *, is_new: bool
    ) -> None:
        self._scenario = scenario
        self._strategy_name = strategy
        self.state = state
        self._is_new = is_new
        self._course = timeline_of(scenario)
        self._control: SteppedControl | None = None
        if strategy != UNCONTROLLED:
            step_minutes = scenario.step // timedelta(minutes=1)
            planner = strategy_of(strategy, scenario.planning, step_minutes).watched(on_plan)
            self._control = SteppedControl(scenario, planner, state)

    async def run(
        self,
        on_progress: Progress,
        is_interrupted: Callable[[], bool],
        kept_in: Path | None,
        watch: Stopwatch,
    ) -> None:
        """Go on to the end, or until interrupted."""
        if self._is_new and self._control is not None:
            await self._control.begin()
        kept_at_s = watch.spent.wall_s
        while (instant := self._next_instant()) is not None:
            if is_interrupted():
                self._keep(kept_in, watch)
                return
            await self._live(instant)
            on_progress(self._share_done(instant))
            if watch.spent.wall_s - kept_at_s > KEPT_EVERY_S:
                self._keep(kept_in, watch)
                kept_at_s = watch.spent.wall_s
        await self._close()
        self._keep(kept_in, watch)
        on_progress(1.0)

    def _keep(self, path: Path | None, watch: Stopwatch) -> None:
        if path is not None:
            self.state.spent = watch.spent
            self.state.save(path)

    def _share_done(self, instant: datetime) -> float:
        return min(1.0, (instant - self._scenario.start) / (self._scenario.end - self._scenario.start))

    # ------------------------------------------------------------------ which instant comes next

    def _next_instant(self) -> datetime | None:
        """The next instant at which anything is to be done; ``None`` at the end."""
        state, scenario = self.state, self._scenario
        candidates = []
        if state.next_place < len(self._course):
            candidates.append(self._course[state.next_place].at)
        if state.look_again_at is not None:
            candidates.append(state.look_again_at)
        if self._must_step():
            candidates.append(state.next_step_at)
            # A guard that looks every second would see at once that the battery stops.
            if state.site.battery is not None and (changes := state.site.battery.next_change()) is not None:
                candidates.append(changes)
        instant = min(candidates, default=None)
        over = instant is None or (instant >= scenario.end and not self._is_active() and not state.was_active)
        return None if over else instant

    def _must_step(self) -> bool:
        """Whether the next whole step is worth a look."""
        if self._control is None:
            return False
        before_end = self.state.next_step_at < self._scenario.end
        if self._is_active() or self.state.was_active:
            return True
        return before_end and self._scenario.has_surroundings

    def _is_active(self) -> bool:
        """Whether any car could draw power or give it back."""
        return any(one.car.may_flow for one in self.state.present.values())

    # ------------------------------------------------------------------ one instant

    async def _live(self, instant: datetime) -> None:
        state = self.state
        state.clock.move_to(instant)
        state.site.plant.settle(instant)
        due = self._take_due(instant)
        for happening in due:
            await self._let_happen(happening)
        if self._control is not None:
            await self._control_at(self._control, instant, due)
        state.was_active = self._is_active()
        if instant - state.recorder.until >= DAY:
            self._let_go(instant)

    async def _control_at(self, control: SteppedControl, instant: datetime, due: list[Happening]) -> None:
        state = self.state
        is_step, is_second_look = instant == state.next_step_at, instant == state.look_again_at
        state.look_again_at = None
        if instant >= state.next_step_at:
            state.next_step_at = self._whole_step_after(instant)
        await control.meter(state.present)
        active = self._is_active() or (self._scenario.site.battery is not None and instant < self._scenario.end)
        if not (active or state.was_active or due):
            return
        waiting = await control.act(self._trigger(instant, due, is_step=is_step) if active else None)
        if waiting and not is_second_look:
            state.look_again_at = instant + SEEN_AFTER

    def _trigger(self, instant: datetime, due: list[Happening], *, is_step: bool) -> str | None:
        """What leads to a new plan now; ``None``: nothing does."""
        rule = self._scenario.replan
        if rule.at_events:
            reasons = [REPLANNING[happening.kind] for happening in due if happening.kind in REPLANNING]
            if reasons:
                return ", ".join(dict.fromkeys(reasons))
        is_period = is_step and not (instant - self._scenario.start) % rule.every
        return "period" if is_period else None

    def _whole_step_after(self, instant: datetime) -> datetime:
        scenario = self._scenario
        return scenario.start + ((instant - scenario.start) // scenario.step + 1) * scenario.step

    def _take_due(self, instant: datetime) -> list[Happening]:
        first = self.state.next_place
        while self.state.next_place < len(self._course) and self._course[self.state.next_place].at <= instant:
            self.state.next_place += 1
        return list(self._course[first : self.state.next_place])

    async def _let_happen(self, happening: Happening) -> None:
        scenario, state, control = self._scenario, self.state, self._control
        match happening.kind:
            case HappeningKind.ARRIVAL:
                stay = scenario.stays[happening.place]
                present = PresentCar(stay, state.site.plug_in(stay))
                state.present[happening.place] = present
                if control is not None:
                    await control.arrived(present)
            case HappeningKind.DEPARTURE:
                await self._depart(happening.place)
            case HappeningKind.STATEMENT if control is not None and happening.place in state.present:
                stay = scenario.stays[happening.place]
                await control.told(state.present[happening.place], stay.told[happening.number])
            case HappeningKind.RESERVATION if control is not None:
                await control.reserved(scenario.reservations[happening.place].reservation)
            case HappeningKind.GRID_EVENT:
                event = scenario.grid_events[happening.place]
                state.site.plant.audit.watch_event(event)
                if control is not None:
                    await control.announced(event)
            case _:
                pass

    async def _depart(self, place: int) -> None:
        state = self.state
        present = state.present.pop(place)
        pauses = await self._control.leaving(present) if self._control is not None else 0
        state.site.unplug(present.stay)
        state.outcomes.append(outcome_of(present, pauses))
        state.learner.note(present.stay.session.stay_h, present.car.taken_kwh, was_full=present.car.is_full)

    # ------------------------------------------------------------------ what is kept and what is let go

    def _let_go(self, instant: datetime) -> None:
        """Keep the energy of each step, and let go of all that nothing looks at any more."""
        state = self.state
        state.recorder.take(state.site.plant, instant)
        state.site.plant.forget_before(state.recorder.until)
        state.stores.forget_before(instant - DAY, instant - REMEMBERED)

    async def _close(self) -> None:
        """Settle the last step; who is still there is full, or could not be served."""
        state = self.state
        last = max(state.site.plant.settled_at, self._scenario.followed_until)
        whole = self._whole_step_after(last) if (last - self._scenario.start) % self._scenario.step else last
        state.clock.move_to(whole)
        state.site.plant.settle(whole)
        state.recorder.take(state.site.plant, whole)
        for present in state.present.values():
            pauses = await self._control.pauses_of(present) if self._control is not None else 0
            state.outcomes.append(outcome_of(present, pauses))
        state.present.clear()
        state.is_over = True

    def course(self, spent: Spent) -> Course:
        """What happened so far."""
        state, scenario = self.state, self._scenario
        state.recorder.take(state.site.plant, state.site.plant.settled_at)
        # Where the replay was interrupted some are still there, with what they have so far.
        outcomes = [*state.outcomes, *(outcome_of(present, 0) for present in state.present.values())]
        return Course(
            strategy=self._strategy_name,
            stays=tuple(sorted(outcomes, key=lambda one: (one.arrived_at, one.id))),
            series=state.recorder.series(scenario.surroundings.building, scenario.surroundings.pv),
            violations=state.site.plant.audit.violations,
            planning=state.log.closed(),
            setpoint_changes=state.site.limits_taken,
            spent=spent,
            until=state.clock.now(),
            is_complete=state.is_over,
            battery_drained_kwh=state.site.battery.drained_kwh if state.site.battery is not None else 0.0,
        )


def outcome_of(present: PresentCar, pauses: int) -> StayOutcome:
    """What became of a car that is there no longer."""
    session = present.stay.session
    said = session.statements[-1] if session.statements else None
    return StayOutcome(
        id=session.id,
        evse_id=present.stay.evse_id,
        arrived_at=session.arrived_at,
        departed_at=session.departed_at,
        wanted_kwh=session.delivered_kwh,
        delivered_kwh=present.car.taken_kwh,
        given_back_kwh=present.car.given_back_kwh,
        stated_kwh=said.energy_kwh if said else None,
        stated_departure=said.depart_at if said else None,
        pauses=pauses,
    )
