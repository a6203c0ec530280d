"""The shipped garage day, lived through by virtual stations against a running service.

Drivers, the site meter, a booking and a grid operator act from outside, as they would in the field: stations over OCPP,
everybody else over the HTTP API. Nothing here reaches into the service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from aiohttp import ClientSession

from optimizer.costing.bill import site_bill
from optimizer.costing.intervals import SiteInterval
from optimizer.domain.cost import SiteBill
from optimizer.domain.metering import SiteMeterReading
from optimizer.domain.moment import Interval, hours_between
from optimizer.domain.series import PowerSeries
from optimizer.domain.site import Site, Station
from optimizer.domain.tariff import Tariff
from optimizer.ports import Clock
from scenarios.arrivals import RecordedSession
from scenarios.garage import DAY_END, DAY_START, GarageDay, evse_of_post
from scenarios.plant import Excess, Extremes
from scenarios.service_client import Json, ServiceClient
from scenarios.station_settings import OcppVersion, StationSettings
from scenarios.station_state import whole_register_kwh
from scenarios.uncontrolled import UncontrolledDay, quarter_hours, uncontrolled_day
from scenarios.virtual_site import Arrival, SessionTotal, VirtualSite, alternating_settings, run_day
from scenarios.virtual_station import CentralSystem, LinkTimings

Tell = Callable[[str], None]

# A booking is not in the recording: it is made for a driver who really came, and told beforehand.
BOOKED_AT = DAY_START + timedelta(hours=3)
BOOKING_GUARANTEE_KW = 3.0
BOOKED_ARRIVAL = timedelta(hours=7, minutes=30)
# In the morning rush the grid operator asks for less, at once.
GRID_EVENT_AT = DAY_START + timedelta(hours=3, minutes=10)
GRID_EVENT_LENGTH = timedelta(minutes=50)
GRID_EVENT_LIMIT_KW = 60.0
DRAIN_WITHIN_S = 20.0
METER_INTERVAL_S = 60
FINAL_READING_WITHIN = timedelta(minutes=2)


@dataclass(frozen=True)
class DayReport:
    """What the day came to; every number says in its name what it is."""

    sessions: int
    """Cars that came."""
    delivered_kwh: float
    """Energy that the cars took [kWh]."""
    wanted_kwh: float
    """Energy that the cars are known to take when nothing holds them back [kWh]."""
    metered_kwh: Decimal
    """Sum of all stations' registers [kWh]."""
    charging: PowerSeries
    """True sum of all cars, mean of each quarter-hour."""
    grid_import: PowerSeries
    """True import of the site, mean of each quarter-hour."""
    uncontrolled: UncontrolledDay
    """The same day without control."""
    extremes: Extremes
    """Greatest true sums."""
    excesses: tuple[Excess, ...]
    """Stretches above the site limit, exactly."""
    import_limit_kw: float
    """The site limit [kW]."""
    bill: Json
    """The site's bill, from the service."""
    balance: Json
    """Who bears which part of it, from the service."""
    uncontrolled_bill: SiteBill
    """What that would have cost, by the same tariff and method."""
    records: int
    """Sessions with a final energy-cost record."""
    grid_event: Json
    """The grid event with its proof of response."""
    grid_event_peak_kw: float
    """Greatest true import from confirmation to the event's end [kW]."""
    reservation: Json
    """The booking as it ended."""
    unacknowledged: int
    """Calls about transactions that the service did not acknowledge."""
    protocol_violations: tuple[str, ...]
    """What the service did against the protocol."""

    def failed_checks(self) -> tuple[str, ...]:
        """What must hold and does not, in words."""
        checks = {
            f"the site drew more than {self.import_limit_kw:g} kW: {self.excesses}": bool(self.excesses),
            f"{self.sessions} cars came but {self.records} have a final record": self.records != self.sessions,
            f"records and bill differ by {self.balance['total']['difference']}": not self.balance["adds_up"],
            f"cost {self.cost} is not below uncontrolled {self.uncontrolled_cost}": self.cost >= self.uncontrolled_cost,
            f"{self.unacknowledged} transaction messages were never acknowledged": self.unacknowledged > 0,
            f"the service broke the protocol: {self.protocol_violations}": bool(self.protocol_violations),
            "the grid event was never seen to be kept": self.grid_event["confirmed_at"] is None,
            f"the booking ended as {self.reservation['status']}": self.reservation["status"] != "FULFILLED",
        }
        return tuple(text for text, failed in checks.items() if failed)

    @property
    def cost(self) -> Decimal:
        """The bill of the day [currency]."""
        return Decimal(self.bill["total"])

    @property
    def uncontrolled_cost(self) -> Decimal:
        """The bill of the same day without control [currency]."""
        return self.uncontrolled_bill.total

    @property
    def saved(self) -> Decimal:
        """The difference [currency]."""
        return self.uncontrolled_cost - self.cost


class LiveDay:
    """Plays the day: acts for drivers, site meter, the booking and the grid operator.

    Args:
        site: What stands there, as the service has it.
        day: The recorded day.
        tariff: What the site pays, for the comparison with the day without control.
        clock: The service's clock.
        client: Speaks to the service.
        tell: Is told, in words, what happens.
    """

    def __init__(
        self, site: Site, day: GarageDay, tariff: Tariff, clock: Clock, client: ServiceClient, tell: Tell
    ) -> None:
        self._site = site
        self._day = day
        self._tariff = tariff
        self._surroundings = day.surroundings(sum(array.peak_kw for array in site.pv_arrays))
        self._clock = clock
        self._client = client
        self._tell = tell
        self._grid_event_id = ""
        self._reservation_id = ""
        self._readings: asyncio.Queue[SiteMeterReading] = asyncio.Queue()

    # ------------------------------------------------------------------ drivers and meter

    async def driver_stated(self, arrival: Arrival) -> None:
        """Post what the driver says about energy and departure; who says nothing, or has booked, is not spoken for."""
        statement = arrival.session.first_statement
        if statement is None or statement.depart_at <= self._clock.now():
            return
        session = await self._client.active_session(arrival.session.token_id)
        if session is None or session["reservation_id"] is not None:
            return
        body = {"depart_at": statement.depart_at.isoformat(), "energy_kwh": statement.energy_kwh}
        await self._client.post(f"/v1/sessions/{session['id']}/departure-target", body)

    async def car_left(self, total: SessionTotal) -> None:
        """Nothing to do: the station tells the service."""

    async def site_metered(self, reading: SiteMeterReading) -> None:
        """Queue a reading of the site meter for its gateway."""
        self._readings.put_nowait(reading)

    async def _push_readings(self) -> None:
        """Hand over readings as a meter gateway does: all that wait in one call, none lost, in order."""
        while True:
            batch = [await self._readings.get()]
            while not self._readings.empty():
                batch.append(self._readings.get_nowait())
            await self._client.push_readings(batch)
            for _ in batch:
                self._readings.task_done()

    # ------------------------------------------------------------------ booking and grid event

    async def _book(self) -> None:
        await self._sleep_until(BOOKED_AT)
        session = booked_session(self._day.sessions)
        body = {
            "start": (session.arrived_at - timedelta(minutes=15)).isoformat(),
            "end": session.departed_at.isoformat(),
            "token_id": session.token_id,
            "evse_id": str(evse_of_post(self._site)[session.post]),
            "energy_kwh": round(session.delivered_kwh, 1),
            "guaranteed_power_kw": BOOKING_GUARANTEE_KW,
        }
        made = await self._client.post("/v1/reservations", body, idempotency_key="live-day-booking")
        self._reservation_id = made["id"]
        self._tell(f"booked {body['evse_id']} for a driver who needs {body['energy_kwh']} kWh this afternoon")

    async def _ask_for_less(self) -> None:
        await self._sleep_until(GRID_EVENT_AT)
        now = self._clock.now()
        body = {
            "start": now.isoformat(),
            "end": (now + GRID_EVENT_LENGTH).isoformat(),
            "value": GRID_EVENT_LIMIT_KW,
            "source": "utility",
        }
        event = await self._client.post("/v1/grid-events", body, idempotency_key="live-day-event")
        self._grid_event_id = event["id"]
        self._tell(f"the utility asks for at most {GRID_EVENT_LIMIT_KW:g} kW for {GRID_EVENT_LENGTH}, at once")

    # ------------------------------------------------------------------ the day

    async def play(self, ocpp_url: str) -> DayReport:
        """Live through the day and close it; the service must be ready."""
        posts = evse_of_post(self._site)
        timings = LinkTimings(answer_within_s=10.0, retry_after_s=0.2, reconnect_first_s=0.1, reconnect_longest_s=1.0)
        async with ClientSession() as http:
            central_system = CentralSystem(ocpp_url, timings=timings)
            settings = alternating_settings(self._site, _quiet_when_idle)
            virtual = VirtualSite(
                self._site,
                settings,
                central_system,
                self._clock,
                self._surroundings,
                http,
                meters_begin=min(DAY_START, self._clock.now()),
            )
            self._readings.put_nowait(virtual.plant.reading_at(virtual.plant.settled_at))
            async with virtual.running(), asyncio.TaskGroup() as tasks:
                beside = [tasks.create_task(work()) for work in (self._push_readings, self._book, self._ask_for_less)]
                totals = await run_day(virtual, self._day.sessions, posts, self, DAY_END, METER_INTERVAL_S)
                await virtual.drained(DRAIN_WITHIN_S)
                await self._last_reading(virtual)
                for task in beside:
                    task.cancel()
            return await self._report(virtual, totals)

    async def _last_reading(self, virtual: VirtualSite) -> None:
        """Let the site meter reach past the day's end, and the service have all of it."""
        await self._sleep_until(DAY_END + FINAL_READING_WITHIN)
        self._readings.put_nowait(virtual.plant.reading_at(DAY_END + FINAL_READING_WITHIN))
        await self._readings.join()

    async def _report(self, virtual: VirtualSite, totals: Sequence[SessionTotal]) -> DayReport:
        window = {"start": DAY_START.isoformat(), "end": DAY_END.isoformat()}
        balance = await self._client.post(f"/v1/sites/{self._site.id}/close-window", window)
        bills = await self._client.get("/v1/bills")
        finals = await self._client.get("/v1/energy-cost-records", status="final", limit="500")
        event = await self._client.get(f"/v1/grid-events/{self._grid_event_id}")
        posts = evse_of_post(self._site)
        uncontrolled = uncontrolled_day(self._site, self._surroundings, self._day.sessions, posts, DAY_START, DAY_END)
        return DayReport(
            sessions=len(totals),
            delivered_kwh=sum(total.delivered_kwh for total in totals),
            wanted_kwh=sum(total.wanted_kwh for total in totals),
            metered_kwh=virtual.plant.charged_kwh(),
            charging=quarter_hours(virtual.plant.charging, DAY_START, DAY_END),
            grid_import=quarter_hours(virtual.plant.grid_import, DAY_START, DAY_END),
            uncontrolled=uncontrolled,
            extremes=virtual.plant.extremes,
            excesses=virtual.plant.excesses,
            import_limit_kw=self._site.grid_connection.import_limit_kw,
            bill=next(bill for bill in bills["bills"] if bill["start"] == balance["start"]),
            balance=balance,
            uncontrolled_bill=bill_of(uncontrolled, self._site, self._tariff),
            records=len({record["session_id"] for record in finals["energy_cost_records"]}),
            grid_event=event,
            grid_event_peak_kw=_greatest_import_kw(virtual, event),
            reservation=await self._client.get(f"/v1/reservations/{self._reservation_id}"),
            unacknowledged=virtual.unacknowledged,
            protocol_violations=tuple(virtual.violations),
        )

    async def _sleep_until(self, instant: datetime) -> None:
        await self._clock.sleep((instant - self._clock.now()).total_seconds())


def booked_session(sessions: Sequence[RecordedSession]) -> RecordedSession:
    """The recorded session that the booking is made for: the first one after the booked time."""
    return next(session for session in sessions if session.arrived_at >= DAY_START + BOOKED_ARRIVAL)


def _quiet_when_idle(station: Station, version: OcppVersion) -> StationSettings:
    """A station that reads its meter for cars only, as most are set up to."""
    return StationSettings(station, version, reads_when_idle=False)


def bill_of(uncontrolled: UncontrolledDay, site: Site, tariff: Tariff) -> SiteBill:
    """The bill of a day without control."""
    boundaries = uncontrolled.grid_import.boundaries
    steps = zip(
        pairwise(boundaries), uncontrolled.grid_import.values_kw, uncontrolled.grid_export.values_kw, strict=True
    )
    intervals = [
        SiteInterval(
            Interval(start, end),
            import_kwh=_kwh(import_kw, start, end),
            export_kwh=_kwh(export_kw, start, end),
        )
        for (start, end), import_kw, export_kw in steps
    ]
    return site_bill(site.id, intervals, tariff, Interval(boundaries[0], boundaries[-1]))


def _kwh(mean_kw: float, start: datetime, end: datetime) -> Decimal:
    return whole_register_kwh(mean_kw * hours_between(start, end))


def _greatest_import_kw(virtual: VirtualSite, event: Json) -> float:
    """Greatest true import from the confirmation of a grid event to its end [kW]."""
    if event["confirmed_at"] is None:
        return max(step.power_kw for step in virtual.plant.grid_import.steps)
    start = datetime.fromisoformat(event["confirmed_at"])
    end = datetime.fromisoformat(event["intervals"][-1]["end"])
    trace = virtual.plant.grid_import
    within = [trace.power_kw(start), *(step.power_kw for step in trace.steps_between(start, end))]
    return max(within)
