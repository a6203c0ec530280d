"""Nobody but the offline optimum sees anything before it would be known: another future changes no earlier decision."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from optimizer.domain.charger import LimitCommand
from optimizer.domain.event import GridEvent, GridEventInterval, GridEventKind
from optimizer.domain.ids import GridEventId, ReservationId, TokenId
from optimizer.domain.moment import Interval
from optimizer.domain.reservation import Reservation
from optimizer.domain.series import PowerSeries, PriceSeries
from optimizer.domain.session import DepartureTarget, TargetSource
from optimizer.domain.snapshot import SiteSnapshot
from optimizer.planning.problem import ChargingProblem
from optimizer.ports import LimitReply
from scenarios.learnt_defaults import LEAST_STAYS, DefaultLearner
from scenarios.offline_optimum import solve_offline
from scenarios.runner import run_course
from scenarios.scenario import AnnouncedReservation, Foresight, Scenario, Stay, Told
from scenarios.scenario_files import catalogue_path, load_scenario
from scenarios.simulated_site import SimulatedSite
from scenarios.stepped_control import SteppedControl
from scenarios.strategies import UNCONTROLLED, strategy_names

CONTROLLED = [name for name in strategy_names() if name != UNCONTROLLED]
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Fork:
    """A scenario, and an instant from which on its future may differ."""

    scenario: Scenario
    at: datetime


def office() -> Fork:
    """PV, building, battery, carbon, a grid event; drivers state what they need."""
    changes = {
        "planning.proof_time_s": 0,
        "replan.at_events": False,
        "replan.every_minutes": 30,
        "information.pv": "persistence",
    }
    scenario = load_scenario(catalogue_path("acn_caltech_2019_08_28"), changes)
    return Fork(scenario, datetime.fromisoformat("2019-08-28T09:30:00-07:00"))


def depot() -> Fork:
    """Day-ahead prices, of which those of the next day are published at 13:00; bookings."""
    changes = {"planning.proof_time_s": 0, "replan.every_minutes": 60}
    scenario = load_scenario(catalogue_path("depot_constructed_2024_06"), changes)
    begin = datetime.fromisoformat("2024-06-12T00:00:00+02:00")
    return Fork(scenario.between(begin, begin + 48 * HOUR), begin + 12.5 * HOUR)


FORKS = {"office": office, "depot": depot}


def with_another_future(fork: Fork) -> Scenario:
    """The scenario with everything changed that is not known at the fork."""
    scenario = fork.scenario
    changed = replace(
        scenario,
        stays=tuple(stay_changed(stay, fork.at) for stay in scenario.stays if stay.session.arrived_at < fork.at),
        surroundings=replace(
            scenario.surroundings,
            building=changed_after(scenario.surroundings.building, fork.at),
            pv=changed_after(scenario.surroundings.pv, fork.at),
        ),
        grid_events=(*(one for one in scenario.grid_events if one.received_at < fork.at), late_event(fork)),
        reservations=(*(one for one in scenario.reservations if one.made_at < fork.at), late_reservation(fork)),
    )
    if scenario.emissions is not None:
        changed = replace(changed, emissions=replace(scenario.emissions, **emissions_changed(fork)))
    if scenario.market is not None:
        prices = prices_changed(scenario.market.prices, fork)
        changed = replace(
            changed,
            market=replace(scenario.market, prices=prices),
            tariff=replace(scenario.tariff, market=prices),
        )
    return changed


def stay_changed(stay: Stay, at: datetime) -> Stay:
    """Who is there leaves at another time, takes more where that does not show yet, and says so a little later."""
    session, vehicle = stay.session, stay.vehicle
    if session.departed_at <= at:
        return stay
    session = replace(session, departed_at=at + (session.departed_at - at) * 0.5)
    # By then it may have taken this much at most.
    greatest_kwh = 12.0 * ((at - session.arrived_at) / HOUR)
    if vehicle.takes_kwh - vehicle.taper_kwh > greatest_kwh:
        vehicle = replace(vehicle, takes_kwh=vehicle.takes_kwh + 20.0)
    later = Told(at + HOUR / 4, (DepartureTarget(at + HOUR, energy_kwh=50.0, source=TargetSource.API),))
    return replace(stay, session=session, vehicle=vehicle, told=(*stay.told, later))


def changed_after(series: PowerSeries, at: datetime) -> PowerSeries:
    values = [
        value_kw if end <= at else 1.7 * value_kw + 3.0
        for value_kw, end in zip(series.values_kw, series.boundaries[1:], strict=True)
    ]
    if len(values) > 1:
        return PowerSeries(series.boundaries, tuple(values))
    first = series.values_kw[0]
    return PowerSeries((series.boundaries[0], at, series.boundaries[-1]), (first, 1.7 * first + 3.0))


def late_event(fork: Fork) -> GridEvent:
    part = GridEventInterval(Interval(fork.at + HOUR, fork.at + 3 * HOUR), 30.0)
    return GridEvent(
        GridEventId("late"), fork.scenario.site.id, GridEventKind.IMPORT_LIMIT, (part,), fork.at + HOUR / 6
    )


def late_reservation(fork: Fork) -> AnnouncedReservation:
    reservation = Reservation(
        id=ReservationId("late"),
        site_id=fork.scenario.site.id,
        window=Interval(fork.at + HOUR, fork.at + 4 * HOUR),
        token_id=TokenId("LATE"),
        energy_kwh=30.0,
        guaranteed_power_kw=10.0,
        created_at=fork.at + HOUR / 12,
    )
    return AnnouncedReservation(fork.at + HOUR / 12, reservation)


def emissions_changed(fork: Fork) -> dict[str, np.ndarray]:
    emissions = fork.scenario.emissions
    assert emissions is not None
    first = int((fork.at.timestamp() - emissions.start_s) // 300)
    outcome, forecasts = emissions.outcome.copy(), emissions.forecasts.copy()
    outcome[first:] += 0.5
    forecasts[:, first:] += 0.5
    return {"outcome": outcome, "forecasts": forecasts}


def prices_changed(prices: PriceSeries, fork: Fork) -> PriceSeries:
    """Other prices from the next local midnight on."""
    midnight = fork.at.astimezone(fork.scenario.tariff.zone).replace(hour=0, minute=0) + timedelta(days=1)
    values = [
        price if start < midnight else Decimal("0.9") - price
        for price, start in zip(prices.prices_per_kwh, prices.boundaries, strict=False)
    ]
    return replace(prices, prices_per_kwh=tuple(values))


class Watched:
    """What control was told and what it decided, in order."""

    def __init__(self) -> None:
        self.decisions: list[str] = []
        self.snapshots: list[SiteSnapshot] = []


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    seen = Watched()
    set_limit, assemble, note = SimulatedSite.set_limit, SteppedControl._assemble, SteppedControl._note

    async def limit_noted(site: SimulatedSite, command: LimitCommand) -> LimitReply:
        # The session behind a transaction is numbered at random.
        seen.decisions.append(f"{site._clock.now()} {command.evse_id} {command.periods}")
        return await set_limit(site, command)

    def snapshot_noted(control: SteppedControl, snapshot: SiteSnapshot, fixed_kw: object) -> ChargingProblem:
        seen.snapshots.append(snapshot)
        return assemble(control, snapshot, fixed_kw)

    def battery_noted(control: SteppedControl, outcome: object) -> None:
        seen.decisions.append(f"{outcome.plan.made_at} {outcome.plan.battery_kw}")
        note(control, outcome)

    monkeypatch.setattr(SimulatedSite, "set_limit", limit_noted)
    monkeypatch.setattr(SteppedControl, "_assemble", snapshot_noted)
    monkeypatch.setattr(SteppedControl, "_note", battery_noted)
    return seen


def decisions_until(scenario: Scenario, strategy: str, at: datetime, watched: Watched) -> list[str]:
    """Every limit sent and every plan of the battery before ``at``."""
    watched.decisions.clear()
    watched.snapshots.clear()
    share = (at - scenario.start) / (scenario.end - scenario.start)
    came_to: list[float] = [0.0]
    run_course(scenario, strategy, on_progress=came_to.append, is_interrupted=lambda: came_to[-1] >= share)
    return [decision for decision in watched.decisions if datetime.fromisoformat(decision[:25]) < at]


@pytest.mark.parametrize(("fork", "strategy"), [*(("depot", name) for name in CONTROLLED), ("office", "milp")])
def test_another_future_changes_no_earlier_decision(fork: str, strategy: str, watched: Watched) -> None:
    here = FORKS[fork]()
    before = decisions_until(here.scenario, strategy, here.at, watched)
    assert before
    assert decisions_until(with_another_future(here), strategy, here.at, watched) == before


@pytest.mark.parametrize("fork", FORKS)
def test_the_offline_optimum_sees_the_future(fork: str) -> None:
    here = FORKS[fork]()
    steps = (here.at - here.scenario.start) // here.scenario.step
    first, other = (
        solve_offline(one).series.charging_kwh[:steps] for one in (here.scenario, with_another_future(here))
    )
    assert not np.array_equal(first, other)


def test_who_asks_for_a_perfect_forecast_gets_one(watched: Watched) -> None:
    here = office()
    perfect = replace(here.scenario.information, pv=Foresight.PERFECT, building=Foresight.PERFECT)
    futures = [replace(one, information=perfect) for one in (here.scenario, with_another_future(here))]
    first, other = (decisions_until(one, "milp", here.at, watched) for one in futures)
    assert first != other


def test_an_event_is_known_from_its_signal_and_holds_from_its_start(watched: Watched) -> None:
    here = depot()
    event = next(one for one in here.scenario.grid_events if one.id == "dimmed")
    decisions_until(here.scenario, "least_laxity", event.span.start + HOUR, watched)
    known_at = [snapshot.at for snapshot in watched.snapshots if event.id in {one.id for one in snapshot.grid_events}]
    assert known_at[0] == event.received_at < event.span.start
    drawn_kw = {one.at: one.meter.grid_kw + one.meter.pv_kw - 8.0 for one in watched.snapshots if one.meter}
    assert max(kw for at, kw in drawn_kw.items() if event.span.start < at < event.span.end) <= 50.0 + 1e-6
    assert max(kw for at, kw in drawn_kw.items() if event.received_at <= at <= event.span.start) > 50.0


def test_who_says_nothing_gets_what_others_taught(watched: Watched) -> None:
    scenario = load_scenario(catalogue_path("acn_jpl_2019_10"), {"planning.proof_time_s": 0})
    later = scenario.start + timedelta(days=2)
    silent = next(stay for stay in scenario.stays if not stay.session.statements and stay.session.arrived_at > later)
    assert silent.told == ()
    before = [stay for stay in scenario.stays if stay.session.departed_at < silent.session.arrived_at]
    some = (*before[-LEAST_STAYS:], silent)
    short = replace(
        scenario,
        stays=some,
        start=min(stay.session.arrived_at for stay in some).replace(minute=0, second=0),
        end=silent.session.arrived_at.replace(second=0) + HOUR / 6,
        step=timedelta(minutes=1),
    )
    decisions_until(short, "least_laxity", short.end, watched)
    sessions = {one.evse_id: one for snapshot in watched.snapshots for one in snapshot.sessions}
    (target,) = sessions[silent.evse_id].targets
    assert target.source is TargetSource.LEARNT
    stays_h = [stay.session.stay_h for stay in before[-LEAST_STAYS:]]
    assert min(stays_h) * HOUR < target.depart_at - silent.session.arrived_at < max(stays_h) * HOUR


def test_a_car_that_left_hungry_does_not_teach_the_next_one_to_starve() -> None:
    learner = DefaultLearner(unknown_kwh=40.0)
    for _ in range(LEAST_STAYS):
        learner.note(8.0, 5.0, was_full=False)
    target = learner.target(datetime.fromisoformat("2024-06-12T00:00:00+00:00"))
    assert target is not None
    assert target.energy_kwh == pytest.approx(40.0)


def test_too_few_stays_teach_nothing() -> None:
    learner = DefaultLearner()
    for _ in range(LEAST_STAYS - 1):
        learner.note(8.0, 5.0)
    assert learner.target(datetime.fromisoformat("2024-06-12T00:00:00+00:00")) is None
