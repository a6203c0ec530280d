"""A whole site in one process: EVSEs that take limits as a gateway does, cars that come and go, meters.

The physics is that of the virtual stations (`VirtualEvse`, `Plant`); only the wire between is missing. Every limit is
taken at once, so a replay shows what planning and control do, not how stations talk. `--over ocpp` adds the wire.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime

from optimizer.domain.charger import ExternalLimit, LimitCommand, LimitPeriod, LimitState
from optimizer.domain.ids import EvseId, StationId, TransactionId
from optimizer.domain.metering import MeterSample, ReadingReason, SiteMeterReading
from optimizer.domain.site import Evse, Wiring
from optimizer.ports import Clock, LimitReply
from scenarios.battery_model import BatteryModel
from scenarios.plant import Plant
from scenarios.scenario import Scenario, Stay
from scenarios.station_state import whole_register_kwh
from scenarios.vehicle_model import PluggedVehicle
from scenarios.virtual_evse import HardwareLimit, VirtualEvse

_TAKEN = LimitReply(LimitState.ACCEPTED)


class PeriodLimits:
    """The limits of a charging profile, as `CurrentLimits`.

    Args:
        evse: Whose limits they are; a limit is power on all of its current paths.
        periods: What holds from when; power to give back is the vehicle's own, whatever paths it uses.
        phases: The phases to use; ``None``: all that there are.
        paths_used: Current paths of the vehicle; 0 where there is none.
    """

    def __init__(
        self, evse: Evse, periods: Sequence[LimitPeriod], phases: int | None = None, paths_used: int = 0
    ) -> None:
        share = evse.current_paths / paths_used if paths_used else 1.0
        self._starts = [period.start for period in periods]
        self._phases = phases if evse.phase_switching else None
        self._limits_a = [evse.current_a(period.net_kw) * (share if period.net_kw < 0 else 1.0) for period in periods]

    def limit_a(self, instant: datetime) -> float:
        """Greatest current per phase at ``instant`` [A]."""
        return self._limits_a[max(0, bisect_right(self._starts, instant) - 1)]

    def phases(self, instant: datetime) -> int | None:  # noqa: ARG002 - always the same
        """Phases to use; ``None``: all that there are."""
        return self._phases

    def next_change(self, instant: datetime) -> datetime | None:
        """The next instant after ``instant`` at which it changes."""
        place = bisect_right(self._starts, instant)
        return self._starts[place] if place < len(self._starts) else None


class SimulatedSite:
    """The site of a scenario (port `ChargerGateway`).

    Args:
        scenario: What stands there and what flows besides the cars.
        clock: The replay's time.
    """

    def __init__(self, scenario: Scenario, clock: Clock) -> None:
        start = scenario.start
        self._clock = clock
        self._evses = {evse_id: VirtualEvse(evse, start) for evse_id, evse in scenario.site.evses.items()}
        battery = scenario.site.battery
        self.battery = BatteryModel(battery, start, scenario.battery_soc) if battery else None
        self.plant = Plant(scenario.site, self._evses, scenario.surroundings, start, self.battery)
        self._defaults: dict[EvseId, PeriodLimits] = {}
        self._transactions: dict[EvseId, TransactionId] = {}
        self.limits_taken = 0

    # ------------------------------------------------------------------ what the gateway does

    async def set_limit(self, command: LimitCommand) -> LimitReply:
        """Take a limit at once."""
        virtual = self._evses[command.evse_id]
        limits = PeriodLimits(virtual.evse, command.periods, command.phases, virtual.current_paths)
        virtual.obey(limits, self._clock.now())
        self.limits_taken += 1
        return _TAKEN

    async def set_safe_default(self, station_id: StationId, evse_id: EvseId, limit_kw: float) -> LimitReply:  # noqa: ARG002
        """Install the limit that holds where no other does."""
        now, virtual = self._clock.now(), self._evses[evse_id]
        default = PeriodLimits(virtual.evse, (LimitPeriod(now, limit_kw),))
        self._defaults[evse_id] = default
        if virtual.vehicle is None:
            virtual.obey(default, now)
        return _TAKEN

    async def clear_limit(self, station_id: StationId, evse_id: EvseId) -> LimitReply:  # noqa: ARG002
        """Let the safe default hold."""
        self._fall_back(self._evses[evse_id])
        return _TAKEN

    async def stop_charging(self, station_id: StationId, transaction_id: TransactionId) -> LimitReply:  # noqa: ARG002
        """Nobody needs it: every station takes a limit of zero."""
        return LimitReply(LimitState.REJECTED, "a limit of zero is taken here")

    def is_online(self, station_id: StationId) -> bool:  # noqa: ARG002
        """Every station is connected all the time."""
        return True

    def limits_of_others(self) -> Mapping[EvseId, tuple[ExternalLimit, ...]]:
        """Nobody else sets limits."""
        return {}

    def switches_phases(self, evse_id: EvseId) -> bool:
        """Whether the EVSE is one that can."""
        return self._evses[evse_id].evse.phase_switching

    def _fall_back(self, virtual: VirtualEvse) -> None:
        default = self._defaults.get(virtual.evse.id, HardwareLimit(virtual.evse))
        virtual.obey(default, self._clock.now())

    def permitted_kw(self, evse_id: EvseId) -> float:
        """The limit that an EVSE is under now [kW]."""
        virtual = self._evses[evse_id]
        return virtual.evse.power_kw(virtual.offered_a(self._clock.now()))

    # ------------------------------------------------------------------ what happens

    def plug_in(self, stay: Stay) -> PluggedVehicle:
        """A car is plugged in and its contactor closes; what holds is the safe default."""
        virtual = self._evses[stay.evse_id]
        virtual.advance(stay.session.arrived_at)
        car = virtual.plug_in(stay.vehicle, None)
        virtual.switch(on=True, at=stay.session.arrived_at)
        return car

    def note_transaction(self, evse_id: EvseId, transaction_id: TransactionId) -> None:
        """From now on samples carry this transaction."""
        self._transactions[evse_id] = transaction_id

    def unplug(self, stay: Stay) -> None:
        """The car of a stay leaves; its limit goes with it."""
        virtual = self._evses[stay.evse_id]
        virtual.unplug(self._clock.now())
        self._transactions.pop(stay.evse_id, None)
        self._fall_back(virtual)

    # ------------------------------------------------------------------ meters

    def sample(self, evse_id: EvseId, reason: ReadingReason = ReadingReason.PERIODIC) -> MeterSample:
        """What an EVSE's meter shows now."""
        now, virtual = self._clock.now(), self._evses[evse_id]
        given_back_kwh = virtual.returned.register_kwh(now)
        evse, step = virtual.evse, virtual.trace.step_at(now)
        current_a = None
        if evse.wiring is Wiring.LINE_TO_NEUTRAL and len(evse.phases) > 1:
            each_a = step.power_kw * 1000.0 / (evse.voltage_v * step.current_paths) if step.current_paths else 0.0
            first, second, third = (each_a if path < step.current_paths else 0.0 for path in range(3))
            current_a = (first, second, third)
        return MeterSample(
            station_id=evse.station_id,
            evse_id=evse_id,
            at=now,
            transaction_id=self._transactions.get(evse_id),
            register_kwh=whole_register_kwh(virtual.import_register_kwh(now)),
            export_register_kwh=whole_register_kwh(given_back_kwh) if given_back_kwh else None,
            power_kw=step.power_kw,
            current_a=current_a,
            soc=virtual.vehicle.soc_before() if virtual.vehicle else None,
            reason=reason,
        )

    def reading(self) -> SiteMeterReading:
        """What the site's meters show now."""
        return self.plant.reading_at(self._clock.now())
