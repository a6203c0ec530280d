"""What one look of the guard costs: the first at a site, and one after a single station was metered.

A look is `dispatch` and `decide`, all that is worked out between reading the stores and sending. Every EVSE has a
vehicle under a limit that its meter has proven; nothing is exceeded and nothing new is wished, which is what nearly all
looks find.

    python -m scenarios.studies.guard_looks
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import median
from time import process_time

from rich.console import Console
from rich.table import Table

from optimizer.control.dispatch import dispatch
from optimizer.control.guard import decide
from optimizer.control.memory import GuardMemory
from optimizer.control.settings import ControlSettings
from optimizer.control.view import GuardView
from optimizer.domain.charger import Connector, ConnectorStatus, LimitPeriod, LimitState, Setpoint
from optimizer.domain.evolving import Evolving, with_changes
from optimizer.domain.ids import CircuitId, EvseId, PlanId, SessionId, SiteId, StationId, TariffId, TransactionId
from optimizer.domain.metering import MeterSample, SiteMeterReading
from optimizer.domain.plan import BindingKind, BindingReason, Plan, SessionPlan
from optimizer.domain.session import Session
from optimizer.domain.site import Circuit, Evse, GridConnection, Site, Station

SIZES = (50, 500, 5000)
LOOKS = 20
NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
LIMIT_KW = 6.9
SETTINGS = ControlSettings()


def site_of(count: int) -> Site:
    """A site of so many EVSEs behind one fuse that carries them all."""
    main = CircuitId("main")
    stations = tuple(
        Station(StationId(f"S{index}"), (Evse(EvseId(f"S{index}"), StationId(f"S{index}"), 1, main, 16.0),))
        for index in range(count)
    )
    greatest_kw = 12.0 * count
    circuits = (Circuit(main, None, limit_kw=greatest_kw, limit_a=20.0 * count),)
    connection = GridConnection(main, import_limit_kw=greatest_kw)
    return Site(SiteId("looks"), "Looks", "UTC", "EUR", circuits, stations, connection, TariffId("none"))


def view_of(site: Site) -> GuardView:
    """All EVSEs charge at the limit that they were told."""
    sent_at = NOW - timedelta(minutes=5)
    periods = (LimitPeriod(sent_at, LIMIT_KW), LimitPeriod(NOW + timedelta(minutes=50), 4.14))
    connectors, sessions = {}, {}
    for evse in site.evses.values():
        setpoint = Setpoint(evse.id, periods, LimitState.VERIFIED, sent_at, sent_at, sent_at + timedelta(seconds=30))
        session_id = SessionId(f"session-{evse.id}")
        connectors[evse.id] = Connector(
            evse.id, evse.station_id, online=True, status=ConnectorStatus.CHARGING, session_id=session_id,
            setpoint=setpoint, safe_default_kw=4.14, last_sample=sample_of(evse, NOW - timedelta(seconds=30)),
        )  # fmt: skip
        begun = NOW - timedelta(hours=1)
        transaction_id = TransactionId(f"t-{evse.id}")
        sessions[evse.id] = Session(session_id, site.id, evse.id, begun, transaction_id=transaction_id)
    meter = SiteMeterReading(
        site.id, NOW, Decimal(0), Decimal(0), grid_kw=LIMIT_KW * len(site.evses), building_kw=0.0, pv_kw=0.0
    )
    safe_kw = dict.fromkeys(site.evses, 4.14)
    return GuardView(NOW, site, Evolving(connectors), Evolving(sessions), (), meter, safe_kw, {})


def sample_of(evse: Evse, at: datetime) -> MeterSample:
    """What an EVSE's meter shows."""
    return MeterSample(evse.station_id, evse.id, at, power_kw=LIMIT_KW)


def plan_of(view: GuardView) -> Plan:
    """A plan that asks for what holds already, for two hours."""
    boundaries = tuple(NOW + timedelta(minutes=15 * slot) for slot in range(9))
    reason = BindingReason(BindingKind.CHARGER_LIMIT)
    planned = tuple(
        SessionPlan(session.id, evse_id, (LIMIT_KW,) * 8, (0.0,) * 9, (reason,) * 8)
        for evse_id, session in view.sessions.items()
    )
    none = (0.0,) * 8
    return Plan(PlanId("plan"), view.site.id, NOW, boundaries, planned, none, none, none, none, none, none, ())


def look_ms(view: GuardView, plan: Plan) -> float:
    """Processor time of one look [ms]."""
    begun_s = process_time()
    decision = decide(view, dispatch(view, plan, SETTINGS), SETTINGS)
    if decision.commands:
        raise RuntimeError(f"nothing should be asked for, but {len(decision.commands)} limits are")
    return 1000.0 * (process_time() - begun_s)


def looks_ms(count: int, looks: int) -> tuple[float, float]:
    """Processor time of a first look, and of one after a single station was metered, at ``count`` EVSEs [ms]."""
    view = view_of(site_of(count))
    plan, evses = plan_of(view), list(view.site.evses.values())
    first = median(look_ms(replace(view, memory=GuardMemory()), plan) for _ in range(3))
    look_ms(view, plan)
    following = []
    for number in range(looks):
        evse, at = evses[number % count], view.at + timedelta(milliseconds=20)
        metered = replace(view.connectors[evse.id], last_sample=sample_of(evse, at))
        view = replace(view, at=at, connectors=with_changes(view.connectors, {evse.id: metered}))
        following.append(look_ms(view, plan))
    return first, median(following)


def main() -> None:
    """Measure and print."""
    table = Table("EVSEs", "first look ms", "next look ms", "next / first", title="one look of the guard")
    for count in SIZES:
        first_ms, next_ms = looks_ms(count, LOOKS)
        table.add_row(str(count), f"{first_ms:.2f}", f"{next_ms:.2f}", f"{next_ms / first_ms:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
