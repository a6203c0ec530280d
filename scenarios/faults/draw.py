"""What stands at a site and what goes wrong there, drawn from a seed: the same seed gives the same run.

A limit can only be held as long as something can be steered: what stations that obey nothing draw at their hardware's
greatest current, the building at its greatest and the starts of vehicles must fit below it. So the limits are drawn
around that, and everything else at the site has to give way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from random import Random

from optimizer.control.settings import ControlSettings
from optimizer.domain.event import GridEvent, GridEventInterval, GridEventKind
from optimizer.domain.ids import CircuitId, EvseId, GridEventId, SiteId, StationId, TariffId, TokenId
from optimizer.domain.moment import Interval
from optimizer.domain.series import PowerSeries
from optimizer.domain.site import (
    ALL_PHASES,
    Circuit,
    Evse,
    GridConnection,
    LimitSource,
    Phase,
    PvArray,
    Site,
    Station,
    Wiring,
)
from optimizer.planning.heuristics import HEURISTICS
from scenarios.plant import Surroundings
from scenarios.station_settings import Misbehaviour, MisbehaviourFigures, OcppVersion, StationSettings
from scenarios.vehicle_model import VehicleModel, WakeBehaviour

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
"""When every run begins [UTC]."""
QUIET_S = 30.0
"""At the begin nothing goes wrong: the site is commissioned [s]."""
HIGHS_SHARE = 0.2
"""Share of the runs that plan with HiGHS."""
SWITCHING_SHARES = (0.0, 0.3, 1.0)
"""Shares of the three-phase EVSEs of a site that are set up as ones that change between one and three phases."""
CANNOT_SWITCH_SHARE = 0.2
"""Share of the stations with such EVSEs that cannot, whatever the site was told."""
DWELLS_S = (30.0, 120.0, 600.0)
"""Least times between two changes of phases [s]."""
DISOBEDIENT = frozenset({Misbehaviour.IGNORES, Misbehaviour.NEVER_ANSWERS})
"""Stations that no central system can hold to anything."""
CURRENTS_A = (16.0, 32.0)
ROTATIONS = ((Phase.L1, Phase.L2, Phase.L3), (Phase.L2, Phase.L3, Phase.L1), (Phase.L3, Phase.L1, Phase.L2))
PAIRS = ((Phase.L1, Phase.L2), (Phase.L2, Phase.L3), (Phase.L3, Phase.L1))


class FaultKind(StrEnum):
    """What goes wrong at an instant; misbehaviour of stations and solver failures come beside."""

    PLUG_IN = "plug_in"
    """A car comes: no fault, but what all of it is about."""
    DROP = "drop"
    """A station loses its connection."""
    OUTAGE = "outage"
    """All stations lose their connections."""
    RESTART = "restart"
    """A station restarts."""
    KILL = "kill"
    """The service is killed, and started again a while later."""
    METER_STALE = "meter_stale"
    """The site meter says nothing for a while."""
    SAMPLES_STALE = "samples_stale"
    """A station sends no meter values for a while."""
    GRID_EVENT = "grid_event"
    """The grid operator sends an event."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that happens."""

    at_s: float
    """When, since the begin [s]."""
    kind: FaultKind
    """What."""
    place: int = 0
    """Which visit, station or event of the draw."""
    lasts_s: float = 0.0
    """How long, or until when it stays unseen [s]."""


@dataclass(frozen=True, slots=True)
class DrawnVisit:
    """One stay of one car."""

    evse_id: EvseId
    """At which EVSE."""
    token_id: TokenId
    """Its driver's token."""
    vehicle: VehicleModel
    """The car."""
    stays_s: float
    """How long it stays [s]."""


class MeterKind(StrEnum):
    """What the site meter tells."""

    ALL = "all"
    """Connection with its phases, building, PV."""
    POWERS = "powers"
    """Connection, building, PV; no currents."""
    CONNECTION = "connection"
    """The connection's power and currents only."""


@dataclass(frozen=True)
class DrawnRun:
    """Everything of one run."""

    seed: int
    """What it was drawn from."""
    site: Site
    """What stands there."""
    stations: dict[StationId, StationSettings]
    """What each station is, and does wrong."""
    surroundings: Surroundings
    """Building and PV."""
    visits: tuple[DrawnVisit, ...]
    """The cars."""
    events: tuple[GridEvent, ...]
    """Grid events."""
    faults: tuple[Fault, ...]
    """What happens, in order of time."""
    meter: MeterKind
    """What the site meter tells."""
    meter_interval_s: float
    """How often [s]."""
    heuristic: str
    """What plans where HiGHS does not; one of them asks for everything at once."""
    solver_failing_share: float
    """Share of the plans that raise."""
    solver_hanging_share: float
    """Share of the plans that take minutes."""
    control: ControlSettings
    """Choices about control."""
    fault_s: float
    """Until when things go wrong; half a minute later every car has left [s]."""
    plans_with_highs: bool
    """Whether the service's own planner plans, with HiGHS; else a rule of thumb, which is quicker and asks for more."""
    solver_late_share: float
    """Share of the plans by HiGHS whose time is up at once, so that its own fallback plans."""


def drawn_run(
    seed: int,
    *,
    fault_minutes: float = 15.0,
    stations: tuple[int, int] = (20, 60),
    switching_shares: tuple[float, ...] = SWITCHING_SHARES,
) -> DrawnRun:
    """Draw a run.

    Args:
        seed: What it is drawn from.
        fault_minutes: How long things go wrong [min].
        stations: Least and greatest number of stations.
        switching_shares: Shares of EVSEs that change between one and three phases, of which one is drawn; all else
            is the same whatever they are.
    """
    # Each kind of thing has numbers of its own, so that a new kind leaves the others as they were.
    random, planner, switching = (Random(f"{what} {seed}") for what in ("faults", "planner", "switching"))
    fault_s = QUIET_S + 60.0 * fault_minutes
    settings = _station_settings(random, random.randint(*stations), Random(f"meters {seed}"))
    site = _site(random, settings)
    site, settings = _with_switching(switching, switching_shares, site, settings)
    floor_kw = _least_limit_kw(site, settings)
    surroundings = _surroundings(random, site, fault_s)
    visits, arrivals = _visits(random, site, fault_s)
    events = _events(random, site, floor_kw, fault_s)
    faults = [*arrivals, *_faults(random, len(site.stations), events, fault_s)]
    return DrawnRun(
        seed=seed,
        site=site,
        stations={one.station.id: one for one in settings},
        surroundings=surroundings,
        visits=visits,
        events=events,
        faults=tuple(sorted(faults, key=lambda fault: (fault.at_s, fault.kind, fault.place))),
        meter=random.choice(tuple(MeterKind)),
        meter_interval_s=random.choice((1.0, 2.0, 5.0, 10.0)),
        heuristic=random.choice(tuple(HEURISTICS)),
        solver_failing_share=random.choice((0.0, 0.2, 0.5)),
        solver_hanging_share=random.choice((0.0, 0.1, 0.3)),
        control=ControlSettings(
            replan_period_s=random.choice((60.0, 120.0, 300.0)),
            guard_period_s=random.choice((1.0, 2.0, 5.0)),
            horizon_h=4.0,
            phase_dwell_s=switching.choice(DWELLS_S),
        ),
        fault_s=fault_s,
        plans_with_highs=planner.random() < HIGHS_SHARE,
        solver_late_share=planner.choice((0.0, 0.2, 0.5)),
    )


# ---------------------------------------------------------------------- stations


def _station_settings(random: Random, number: int, meters: Random) -> list[StationSettings]:
    american = random.random() < 0.25
    allowed_disobedient = random.randint(0, max(1, number // 15))
    circuits = random.randint(0, 3)
    drawn = []
    for index in range(number):
        circuit = CircuitId(f"sub{index % circuits}") if circuits and random.random() < 0.7 else CircuitId("grid")
        station = _station(random, index, circuit, american=american)
        misbehaviours = _misbehaviours(random, may_disobey=allowed_disobedient > 0)
        allowed_disobedient -= bool(misbehaviours & DISOBEDIENT)
        figures = MisbehaviourFigures(
            reaction_s=random.uniform(5.0, 25.0),
            skew_s=random.choice((-95.0, -40.0, 60.0, 300.0)),
            replay_age_s=random.uniform(60.0, 300.0),
            boot_every_s=random.uniform(15.0, 60.0),
            boots=random.randint(3, 8),
            drop_every_s=random.uniform(60.0, 400.0),
            second_socket_every_s=random.uniform(60.0, 300.0),
        )
        drawn.append(
            StationSettings(
                station,
                version=random.choice(tuple(OcppVersion)),
                model=f"virtual-{'-'.join(sorted(misbehaviours)) or 'good'}",
                reading_interval_s=0,
                sample_interval_s=random.choice((10, 20, 30)),
                tells_each_phase=random.random() < 0.3,
                reaction_s=random.choice((0.0, 1.0, 3.0)),
                starts_offline=random.random() < 0.8,
                boots_on_reconnect=random.random() < 0.3,
                first_register_kwh=meters.choice((0.0, 0.05, meters.uniform(1.0, 30000.0))),
                misbehaviours=misbehaviours,
                figures=figures,
            )
        )
    return drawn


def _misbehaviours(random: Random, *, may_disobey: bool) -> frozenset[Misbehaviour]:
    if random.random() < 0.4:
        return frozenset()
    pool = [kind for kind in Misbehaviour if may_disobey or kind not in DISOBEDIENT]
    return frozenset(random.sample(pool, random.choice((1, 1, 1, 2, 3))))


def _station(random: Random, index: int, circuit: CircuitId, *, american: bool) -> Station:
    station_id = StationId(f"S{index:02d}")
    evses = []
    for number in range(1, 3 if random.random() < 0.15 else 2):
        current_a = random.choice(CURRENTS_A)
        phases: tuple[Phase, ...] = random.choice(ROTATIONS)
        wiring, voltage_v = Wiring.LINE_TO_NEUTRAL, 230.0
        if american:
            wiring, voltage_v, phases = Wiring.LINE_TO_LINE, 208.0, random.choice(PAIRS)
        elif random.random() < 0.3:
            phases = (random.choice(ALL_PHASES),)
        evses.append(
            Evse(
                EvseId(f"{station_id}-{number}"), station_id, number, circuit, current_a,
                phases=phases, wiring=wiring, voltage_v=voltage_v,
            )
        )  # fmt: skip
    return Station(station_id, tuple(evses))


def _with_switching(
    switching: Random, shares: tuple[float, ...], site: Site, settings: list[StationSettings]
) -> tuple[Site, list[StationSettings]]:
    """Some EVSEs change between one and three phases; some of them are said to, and cannot."""
    share = switching.choice(shares)
    told, true = [], []
    for one in settings:
        evses = tuple(
            replace(evse, phase_switching=switching.random() < share and len(evse.phases) == len(ALL_PHASES))
            for evse in one.station.evses
        )
        cannot = switching.random() < CANNOT_SWITCH_SHARE
        told.append(replace(one.station, evses=evses))
        true.append(one if cannot else replace(one, station=told[-1]))
    return replace(site, stations=tuple(told)), true


# ---------------------------------------------------------------------- limits


def _disobedient(settings: Iterable[StationSettings]) -> set[StationId]:
    return {one.station.id for one in settings if one.misbehaviours & DISOBEDIENT}


def _site(random: Random, settings: list[StationSettings]) -> Site:
    stations = tuple(one.station for one in settings)
    evses = [evse for station in stations for evse in station.evses]
    stubborn = _disobedient(settings)
    building_kw = random.uniform(10.0, 60.0)
    circuits = []
    for circuit_id in sorted({evse.circuit_id for evse in evses} - {CircuitId("grid")}):
        below = [evse for evse in evses if evse.circuit_id == circuit_id]
        fuse_a = _needed_a(below, stubborn) + random.uniform(0.05, 0.3) * _greatest_a(below, stubborn)
        circuits.append(Circuit(circuit_id, CircuitId("grid"), limit_a=round(fuse_a + 16.0)))
    building_a = building_kw * 1000.0 / (3.0 * 230.0 if evses[0].wiring is Wiring.LINE_TO_NEUTRAL else 3.0 * 120.0)
    needed_a = _needed_a(evses, stubborn) + building_a
    fuse_a = round(needed_a + random.uniform(0.02, 0.15) * _greatest_a(evses, stubborn) + 16.0)
    voltage_v = evses[0].voltage_v if evses[0].wiring is Wiring.LINE_TO_NEUTRAL else evses[0].voltage_v / 3**0.5
    connection_kw = round(3 * fuse_a * voltage_v / 1000.0 * random.uniform(0.8, 1.1), 1)
    has_pv = random.random() < 0.4
    return Site(
        id=SiteId("site"),
        name="A site where much goes wrong",
        time_zone="Europe/Berlin",
        currency="EUR",
        circuits=(Circuit(CircuitId("grid"), None, limit_a=fuse_a), *circuits),
        stations=stations,
        grid_connection=GridConnection(CircuitId("grid"), connection_kw, source=LimitSource.CONTRACT),
        tariff_id=TariffId("flat"),
        pv_arrays=(PvArray("roof", 30.0, 30.0, 30.0, 180.0),) if has_pv else (),
        greatest_building_kw=building_kw,
    )


def _needed_a(evses: list[Evse], stubborn: set[StationId]) -> float:
    """Current on the fullest phase of what cannot be steered [A]."""
    return max(
        sum(evse.max_current_a for evse in evses if evse.station_id in stubborn and phase in evse.phases)
        for phase in ALL_PHASES
    )


def _greatest_a(evses: list[Evse], stubborn: set[StationId]) -> float:
    """Current on the fullest phase of what can [A]."""
    return max(
        sum(evse.max_current_a for evse in evses if evse.station_id not in stubborn and phase in evse.phases)
        for phase in ALL_PHASES
    )


def _least_limit_kw(site: Site, settings: list[StationSettings]) -> float:
    """The least import that can still be kept: building and what cannot be steered [kW]."""
    stubborn = _disobedient(settings)
    unsteered_kw = sum(evse.max_power_kw for evse in site.evses.values() if evse.station_id in stubborn)
    return site.greatest_building_kw + unsteered_kw


def _events(random: Random, site: Site, floor_kw: float, fault_s: float) -> tuple[GridEvent, ...]:
    events = []
    limit_kw = site.grid_connection.import_limit_kw
    for number in range(random.randint(0, 3)):
        received_s = random.uniform(QUIET_S, fault_s)
        start_s = received_s + random.choice((0.0, 0.0, 20.0, 90.0, 300.0))
        parts, at_s = [], start_s
        for _ in range(random.randint(1, 3)):
            until_s = at_s + random.uniform(60.0, 300.0)
            value_kw = floor_kw * 1.02 + random.uniform(0.0, 0.7) * max(0.0, limit_kw - floor_kw)
            interval = Interval(START + timedelta(seconds=round(at_s)), START + timedelta(seconds=round(until_s)))
            parts.append(GridEventInterval(interval, round(value_kw, 1)))
            at_s = until_s
        received_at = START + timedelta(seconds=round(received_s))
        event_id = GridEventId(f"event-{number}")
        events.append(GridEvent(event_id, site.id, GridEventKind.IMPORT_LIMIT, tuple(parts), received_at))
    return tuple(events)


def _surroundings(random: Random, site: Site, fault_s: float) -> Surroundings:
    boundaries, building_kw, pv_kw = [START - timedelta(hours=1)], [], []
    at_s = QUIET_S
    while at_s < fault_s:
        # Most of the day it ripples; now and then something large is switched on or off.
        building_kw.append(round(site.greatest_building_kw * random.choice((0.2, 0.3, 0.35, 0.5, 0.8, 1.0)), 2))
        pv_kw.append(round(random.uniform(0.0, 25.0), 2) if site.pv_arrays else 0.0)
        boundaries.append(START + timedelta(seconds=round(at_s)))
        at_s += random.expovariate(1.0 / 100.0) + 5.0
    boundaries.append(START + timedelta(seconds=fault_s + 3600.0))
    building_kw.append(building_kw[-1])
    pv_kw.append(0.0)
    return Surroundings(
        PowerSeries(tuple(boundaries), tuple(building_kw)), PowerSeries(tuple(boundaries), tuple(pv_kw)), 0.0
    )


# ---------------------------------------------------------------------- what happens


def _visits(random: Random, site: Site, fault_s: float) -> tuple[tuple[DrawnVisit, ...], list[Fault]]:
    visits: list[DrawnVisit] = []
    faults: list[Fault] = []
    for evse in site.evses.values():
        at_s = QUIET_S + random.uniform(0.0, 0.3) * fault_s
        while at_s < fault_s and random.random() < 0.9:
            stays_s = min(random.uniform(60.0, fault_s), fault_s + random.uniform(5.0, 30.0) - at_s)
            faults.append(Fault(round(at_s, 2), FaultKind.PLUG_IN, len(visits)))
            token_id = TokenId(f"T{len(visits):03d}")
            visits.append(DrawnVisit(evse.id, token_id, _vehicle(random), stays_s))
            at_s += stays_s + random.uniform(10.0, 120.0)
    return tuple(visits), faults


def _vehicle(random: Random) -> VehicleModel:
    takes_kwh = random.choice((0.3, 2.0, 20.0, 60.0, 60.0))
    return VehicleModel(
        takes_kwh=takes_kwh,
        max_current_a=random.choice((10.0, 16.0, 32.0, 32.0)),
        phases_used=random.choice((1, 2, 3, 3)),
        min_current_a=random.choice((6.0, 6.0, 6.0, 8.0)),
        taper_kwh=random.choice((0.0, 0.3)) * takes_kwh,
        wake=random.choice((WakeBehaviour.WAKES, WakeBehaviour.WAKES, WakeBehaviour.NEEDS_MORE)),
        wake_delay_s=random.choice((0.0, 5.0, 30.0)),
    )


def _faults(random: Random, stations: int, events: tuple[GridEvent, ...], fault_s: float) -> list[Fault]:
    faults = [
        Fault((event.received_at - START).total_seconds(), FaultKind.GRID_EVENT, place)
        for place, event in enumerate(events)
    ]

    def some(kind: FaultKind, most: int, shortest_s: float, longest_s: float) -> None:
        for _ in range(random.randint(0, most)):
            at_s = round(random.uniform(QUIET_S, fault_s), 2)
            faults.append(Fault(at_s, kind, random.randrange(stations), random.uniform(shortest_s, longest_s)))

    some(FaultKind.DROP, stations // 2, 0.0, 90.0)
    some(FaultKind.OUTAGE, 1, 0.0, 60.0)
    some(FaultKind.RESTART, stations // 6, 2.0, 60.0)
    some(FaultKind.KILL, 3, 1.0, 40.0)
    some(FaultKind.METER_STALE, 2, 30.0, 240.0)
    some(FaultKind.SAMPLES_STALE, stations // 6, 30.0, 300.0)
    return faults
