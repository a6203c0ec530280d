"""Problems and snapshots for the tests of planning: a small site by hand, and generated ones for properties."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import strategies as st

from optimizer.domain.charger import Connector, ConnectorStatus
from optimizer.domain.ids import CircuitId, EvseId, SessionId, SiteId, StationId, TariffId
from optimizer.domain.moment import Interval
from optimizer.domain.series import PowerSeries, PriceSeries
from optimizer.domain.session import DepartureTarget, PriorityTier, Session, Vehicle
from optimizer.domain.site import (
    ALL_PHASES,
    Circuit,
    Evse,
    GridConnection,
    LimitSource,
    Phase,
    Site,
    Station,
    Wiring,
)
from optimizer.domain.snapshot import SiteSnapshot
from optimizer.planning.problem import BatteryState, ChargingProblem
from optimizer.planning.requests import (
    ChargingRequest,
    DemandTerm,
    EnergyNeed,
    LimitScope,
    PhaseMode,
    PlanPrices,
    PowerLimit,
    SiteOutlook,
    VehicleBattery,
)
from optimizer.planning.statement import charging_problem

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
SITE = SiteId("garage")
ROOT = CircuitId("root")
ONE_PHASE = PhaseMode(max_current_a=32, phases=(Phase.L1,))
THREE_PHASE = PhaseMode(max_current_a=16)


def hours(count: float) -> datetime:
    return NOW + timedelta(hours=count)


def boundaries(slots: int, minutes: int = 60) -> list[datetime]:
    return [NOW + timedelta(minutes=minutes * index) for index in range(slots + 1)]


def request(name: str, energy_kwh: float, by_h: float, mode: PhaseMode = ONE_PHASE, **more: Any) -> ChargingRequest:
    needs = more.pop("needs", (EnergyNeed(hours(by_h), energy_kwh),))
    modes = more.pop("modes", (mode,))
    circuit = more.pop("circuit_id", ROOT)
    return ChargingRequest(SessionId(name), EvseId(f"evse-{name}"), circuit, modes, needs, **more)


def problem(
    requests: list[ChargingRequest],
    *,
    slots: int = 4,
    minutes: int = 60,
    prices: list[float] | None = None,
    circuits: list[Circuit] | None = None,
    limit_kw: float | None = None,
    **more: Any,
) -> ChargingProblem:
    outlook = {
        name: more.pop(name)
        for name in (
            "export_price_per_kwh",
            "building_kw",
            "pv_kw",
            "carbon_kg_per_kwh",
            "setpoint_kw",
            "pv_curtailable",
            "pv_firm_share",
            "phase_voltage_v",
            "building_phase_shares",
        )
        if name in more
    }
    limits = [*more.pop("limits", [])]
    if limit_kw is not None:
        limits.append(PowerLimit(ROOT, limit_kw, LimitSource.FUSE))
    return charging_problem(
        SITE,
        boundaries(slots, minutes),
        requests,
        circuits or [Circuit(ROOT, None)],
        SiteOutlook(prices or [0.3] * slots, **outlook),
        limits=limits,
        **more,
    )


def snapshot(
    sessions: list[Session], *, evses: list[Evse] | None = None, at: datetime = NOW, **more: Any
) -> SiteSnapshot:
    stations = tuple(
        Station(evse.station_id, (evse,)) for evse in evses or [evse_of(f"e{index}") for index in range(4)]
    )
    site = more.pop("site", None) or Site(
        id=SITE,
        name="Garage",
        time_zone="Europe/Berlin",
        currency="EUR",
        circuits=more.pop("circuits", (Circuit(ROOT, None, limit_a=100.0),)),
        stations=stations,
        grid_connection=GridConnection(ROOT, more.pop("import_limit_kw", 50.0)),
        tariff_id=TariffId("t"),
        battery=more.pop("battery", None),
    )
    occupied = {session.evse_id: session.id for session in sessions}
    day = (at, at + timedelta(days=2))
    values: dict[str, Any] = {
        "connectors": tuple(
            Connector(
                evse.id, evse.station_id, online=True, status=ConnectorStatus.CHARGING, session_id=occupied.get(evse.id)
            )
            for evse in site.evses.values()
        ),
        "reservations": (),
        "grid_events": (),
        "import_prices": PriceSeries("EUR", day, (Decimal("0.30"),)),
        "export_prices": PriceSeries("EUR", day, (Decimal("0.05"),)),
        "building": PowerSeries(day, (5.0,)),
        "pv": PowerSeries(day, (0.0,)),
        "demand": (),
        "meter": None,
        "previous_plan": None,
    }
    return SiteSnapshot(at=at, site=site, sessions=tuple(sessions), **{**values, **more})


def evse_of(name: str, **more: Any) -> Evse:
    return Evse(
        EvseId(name),
        StationId(f"station-{name}"),
        1,
        more.pop("circuit_id", ROOT),
        max_current_a=more.pop("max_current_a", 16.0),
        **more,
    )


def session_of(name: str, evse: str, **more: Any) -> Session:
    targets = more.pop("targets", (DepartureTarget(hours(6), energy_kwh=20.0),))
    return Session(
        SessionId(name),
        SITE,
        EvseId(evse),
        more.pop("plugged_in_at", NOW - timedelta(hours=1)),
        targets=targets,
        vehicle=more.pop("vehicle", Vehicle()),
        **more,
    )


@st.composite
def problems(draw: st.DrawFn, *, most_sessions: int = 6) -> ChargingProblem:
    """Problems with everything on: tree, phases, line-to-line loads, switching, taper, V2G, PV, battery, demand."""
    seed = draw(st.integers(0, 2**32 - 1))
    return random_problem(np.random.default_rng(seed), most_sessions=most_sessions)


def random_problem(rng: np.random.Generator, *, most_sessions: int = 6) -> ChargingProblem:
    slots = int(rng.integers(2, 13))
    lengths = rng.choice([5, 15, 30, 60], slots)
    instants = [NOW + timedelta(minutes=int(total)) for total in np.concatenate(([0], np.cumsum(lengths)))]
    line_to_line = bool(rng.random() < 0.2)
    circuits = _random_tree(rng)
    requests = [
        _random_request(rng, index, instants, circuits, line_to_line=line_to_line)
        for index in range(int(rng.integers(0, most_sessions + 1)))
    ]
    limits = [PowerLimit(ROOT, float(rng.choice([0.0, 5.0, 15.0, 40.0])), LimitSource.CONTRACT)]
    if rng.random() < 0.3:
        window = Interval(instants[0], instants[int(rng.integers(1, len(instants)))])
        scope = LimitScope.CONTROLLABLE if rng.random() < 0.5 else LimitScope.LOAD
        limits.append(PowerLimit(circuits[-1].id, float(rng.choice([0.0, 4.2])), LimitSource.GRID_EVENT, scope, window))
    if rng.random() < 0.5:
        limits.append(PowerLimit(ROOT, float(rng.choice([0.0, 3.0, 20.0])), LimitSource.CONTRACT, LimitScope.FEED))
    prices = rng.uniform(-0.1 if rng.random() < 0.2 else 0.05, 0.4, slots)
    exports = prices * 0.5 if rng.random() < 0.7 else prices + rng.uniform(-0.1, 0.1, slots)
    building = rng.uniform(0, 12, slots)
    if rng.random() < 0.15:
        building = building + 40.0
    outlook = SiteOutlook(
        import_price_per_kwh=prices.tolist(),
        export_price_per_kwh=exports.tolist(),
        building_kw=building.tolist(),
        pv_kw=(rng.uniform(0, 15, slots) * (rng.random() < 0.6)).tolist(),
        setpoint_kw=[10.0 if rng.random() < 0.5 else None for _ in range(slots)] if rng.random() < 0.15 else None,
        pv_curtailable=bool(rng.random() < 0.5),
        pv_firm_share=float(rng.choice([0.0, 0.5, 1.0])),
        phase_voltage_v=120.0 if line_to_line else 230.0,
    )
    demand = [DemandTerm("peak", 5.0, float(rng.choice([0.0, 10.0])))] if rng.random() < 0.5 else []
    prices_of = PlanPrices(
        carbon_price_per_kg=0.0,
        delay_price_per_kwh_h=float(rng.choice([0.0, 1e-3])),
        start_price=0.01,
        min_run_h=float(rng.choice([0.0, 0.25])),
    )
    return charging_problem(
        SITE,
        instants,
        requests,
        circuits,
        outlook,
        limits=limits,
        demand=demand,
        battery=_random_battery(rng),
        prices=prices_of,
    )


def _random_tree(rng: np.random.Generator) -> list[Circuit]:
    root = Circuit(ROOT, None, limit_a=float(rng.choice([20.0, 40.0, 80.0])) if rng.random() < 0.7 else None)
    circuits = [root]
    for index in range(int(rng.integers(0, 3))):
        parent = circuits[int(rng.integers(0, len(circuits)))].id
        circuits.append(
            Circuit(
                CircuitId(f"row{index}"),
                parent,
                limit_a=float(rng.choice([10.0, 25.0])) if rng.random() < 0.7 else None,
                limit_kw=float(rng.choice([4.0, 15.0])) if rng.random() < 0.3 else None,
                imbalance_limit_a=float(rng.choice([5.0, 16.0])) if rng.random() < 0.2 else None,
            )
        )
    return circuits


def _random_mode(rng: np.random.Generator, *, line_to_line: bool) -> tuple[PhaseMode, ...]:
    most_a = float(rng.choice([10.0, 16.0, 32.0]))
    step_a = float(rng.choice([0.0, 1.0, 2.0]))
    if line_to_line:
        first = int(rng.integers(0, 3))
        phases = (ALL_PHASES[first], ALL_PHASES[(first + 1) % 3])
        return (PhaseMode(most_a, phases, Wiring.LINE_TO_LINE, 208.0, 6.0, step_a),)
    first = int(rng.integers(0, 3))
    rotation = ALL_PHASES[first:] + ALL_PHASES[:first]
    count = int(rng.choice([1, 2, 3]))
    if rng.random() < 0.2:
        return (
            PhaseMode(most_a, rotation, current_step_a=step_a),
            PhaseMode(most_a, rotation[:1], current_step_a=step_a),
        )
    return (PhaseMode(most_a, rotation[:count], current_step_a=step_a),)


def _random_request(
    rng: np.random.Generator, index: int, instants: list[datetime], circuits: list[Circuit], *, line_to_line: bool
) -> ChargingRequest:
    span = instants[-1] - instants[0]
    arrive = instants[0] + span * float(rng.uniform(-0.5, 0.7))
    depart = max(arrive, instants[0]) + span * float(rng.uniform(0.05, 0.6))
    needs = [EnergyNeed(depart, float(rng.uniform(0, 20)))]
    if rng.random() < 0.2:
        needs.insert(0, EnergyNeed(instants[0] + (depart - instants[0]) / 2, needs[0].energy_kwh * 0.6))
    battery = None
    draw = rng.random()
    if draw < 0.35:
        capacity = float(rng.uniform(20, 60))
        battery = VehicleBattery(
            stored_kwh=capacity * float(rng.uniform(0, 1.02)),
            capacity_kwh=capacity,
            charge_efficiency=float(rng.choice([0.9, 1.0])),
            knee_soc=0.8 if draw < 0.25 else None,
            max_discharge_kw=5.0 if draw > 0.15 else 0.0,
        )
    modes = _random_mode(rng, line_to_line=line_to_line)
    return ChargingRequest(
        SessionId(f"s{index}"),
        EvseId(f"e{index}"),
        circuits[int(rng.integers(0, len(circuits)))].id,
        modes,
        tuple(needs),
        arrive_at=arrive,
        depart_at=depart,
        tier=PriorityTier(int(rng.integers(0, 4))),
        battery=battery,
        guaranteed_kw=3.0 if rng.random() < 0.15 else 0.0,
        guaranteed_kwh=2.0,
        charging_now=bool(rng.random() < 0.4),
        run_so_far_h=float(rng.uniform(0, 0.5)),
        starts_left=int(rng.choice([0, 1, 1000])),
    )


def _random_battery(rng: np.random.Generator) -> BatteryState | None:
    if rng.random() < 0.6:
        return None
    return BatteryState(
        content_kwh=float(rng.uniform(0, 20)),
        capacity_kwh=20.0,
        min_kwh=2.0,
        max_kwh=19.0,
        max_charge_kw=8.0,
        max_discharge_kw=8.0,
        charge_efficiency=0.95,
        discharge_efficiency=0.95,
        wear_per_kwh=0.02,
        end_price_per_kwh=float(rng.choice([0.0, 0.2])),
    )
