"""What is asked of a station once it may be spoken to: its state, its abilities, what it is to measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import structlog

from connectors.ocpp.call_queue import Answered, Unanswered
from connectors.ocpp.capability import CapabilityStore, as_declared, as_permitted, preset_for
from connectors.ocpp.limits import LimitLayers
from connectors.ocpp.link import StationLink
from connectors.ocpp.outbound import SettingName
from connectors.ocpp.security_desk import SecurityDesk
from connectors.ocpp.settings import OcppSettings
from connectors.ocpp.station import StationRecord
from connectors.ocpp.translate import whole_number
from optimizer.domain.charger import LimitState
from optimizer.domain.operation import Trigger

INTERVALS = (SettingName.METER_INTERVAL, SettingName.ALIGNED_INTERVAL)
"""Settings by which a station sends meter values during a transaction."""

ASKED = (
    SettingName.RATE_UNITS,
    SettingName.MAX_PERIODS,
    SettingName.STACK_LEVEL,
    SettingName.PHASE_SWITCHING,
    SettingName.OPERATION_MODES,
    SettingName.MEASURANDS,
    *INTERVALS,
)
"""Settings that are read at first contact."""


GIVEN_BACK = ("Power.Active.Export", "Energy.Active.Export.Register")
"""Measurands of what vehicles give back."""


class StationContact:
    """Brings one connected station to where limits can be sent and meter values believed.

    Args:
        record: What is remembered of it.
        link: Its connection.
        layers: Renews its safe defaults.
        capabilities: What was proven of its kind.
        settings: What to measure, how often.
        desk: Hands out certificates.
    """

    def __init__(
        self,
        record: StationRecord,
        link: StationLink,
        layers: LimitLayers,
        capabilities: CapabilityStore,
        settings: OcppSettings,
        desk: SecurityDesk,
    ) -> None:
        self._record = record
        self._desk = desk
        self._link = link
        self._layers = layers
        self._capabilities = capabilities
        self._settings = settings
        self._log = structlog.get_logger(__name__).bind(station_id=record.station.id)

    async def make(self, *, booted: bool) -> None:
        """Do all that is due; a station that answers nothing is left alone.

        Args:
            booted: Whether it announced itself; else it is back from before and its state is asked for.
        """
        if booted:
            await self._layers.renew_defaults(self._record)
        elif not await self._ask_for_states():
            return
        await self._bound_station()
        wanted = self._link.calls.external_profiles()
        if wanted is not None:
            await self._link.ask(wanted)
        if self._record.learnt_for == self._record.identity and not booted:
            await self._layers.clear_foreign(self._record)
            return
        told = await self._settings_told()
        if told is not None:
            await self._learn_abilities(told)
            await self._agree_on_measurands(told)
            self._record.learnt_for = self._record.identity
        await self._layers.clear_foreign(self._record)

    async def _bound_station(self) -> None:
        """Write the station maximum, where there is to be one and the station is not known to hold it."""
        maximum_kw = self._settings.station_maxima_kw.get(self._record.station.id)
        if maximum_kw is None or self._record.told_maximum_kw == maximum_kw:
            return
        reply = await self._layers.set_station_maximum(self._record, maximum_kw)
        if reply.state is not LimitState.ACCEPTED:
            self._log.warning("station takes no maximum", limit_kw=maximum_kw, reason=reply.detail)

    async def _ask_for_states(self) -> bool:
        """Have the states reported that a reconnect left out; whether the station answers at all."""
        calls, asked = self._link.calls, []
        if self._record.identity is None and not self._record.boot_was_asked:
            # Once only: there are stations that take it as an order to restart.
            self._record.boot_was_asked = True
            asked.append(calls.trigger(Trigger.BOOT, None))
        asked += [calls.trigger(Trigger.STATUS, number) for number in self._record.evses]
        for message in asked:
            if isinstance(await self._link.ask(message), Unanswered):
                return False
        return True

    async def follow_up(self) -> None:
        """Do what the station's messages left open: certificates to hand out, messages that are missing."""
        self._desk.hand_out(self._record, self._link)
        await self._ask_for_missing()

    async def _ask_for_missing(self) -> None:
        """Ask whether the messages that are missing of a transaction are still to come (2.x)."""
        gaps, self._record.gaps = self._record.gaps, []
        for transaction_id in dict.fromkeys(gaps):
            message = self._link.calls.transaction_status(transaction_id)
            outcome = await self._link.ask(message) if message is not None else None
            if isinstance(outcome, Answered):
                still_to_come = outcome.payload.get("messagesInQueue")
                self._log.warning("messages missing", transaction_id=transaction_id, still_to_come=still_to_come)

    async def _settings_told(self) -> dict[SettingName, str] | None:
        """Settings that the station tells, all at once or, where that is too much, one by one; ``None``: it is mute."""
        known = self._link.calls.setting_names
        names = {known[name]: name for name in ASKED if name in known}
        told = await self._read(tuple(names))
        if told is None:
            return None
        if not told:
            for name in names:
                told |= await self._read((name,)) or {}
        return {names[name]: value for name, value in told.items() if name in names}

    async def _learn_abilities(self, told: Mapping[SettingName, str]) -> None:
        identity, record = self._record.identity, self._record
        if identity is None or not identity.is_known or record.learnt_for == identity:
            return
        known = await self._capabilities.capability(identity) or preset_for(identity)
        permitted = as_permitted(
            as_declared(known, told), told, v2x=self._settings.v2x, dynamic=self._settings.dynamic_profiles
        )
        record.start_capability(permitted)
        self._log.info("abilities learnt", capability=record.capability)

    async def _read(self, names: tuple[str, ...]) -> dict[str, str] | None:
        """Settings by name; ``None`` where nothing is answered."""
        outcome = await self._link.ask(self._link.calls.read_settings(names))
        if isinstance(outcome, Unanswered):
            return None
        return self._link.calls.settings_read(outcome.payload) if isinstance(outcome, Answered) else {}

    async def _agree_on_measurands(self, told: Mapping[SettingName, str]) -> None:
        """Ask for all measurands, else add one after the other and keep those that are taken; write changes only.

        What a kind of station agreed to before is asked for at once.
        """
        capability = self._record.capability
        wanted = tuple(name for name in self._settings.measurands if name in capability.measurands)
        wanted = wanted or self._settings.measurands
        if capability.discharges:
            wanted = (*wanted, *(name for name in GIVEN_BACK if name not in wanted))
        measured = {measurand.strip() for measurand in told.get(SettingName.MEASURANDS, "").split(",")}
        if not measured.issuperset(wanted) and not await self._write(SettingName.MEASURANDS, ",".join(wanted)):
            kept: list[str] = []
            for measurand in wanted:
                if await self._write(SettingName.MEASURANDS, ",".join([*kept, measurand])):
                    kept.append(measurand)
            self._log.info("some measurands only", measurands=kept)
            wanted = tuple(kept)
        # Meanwhile another way to tell limits may have been found.
        self._record.capability = replace(self._record.capability, measurands=wanted)
        intervals_s = [whole_number(told.get(name)) or 0 for name in INTERVALS]
        often_enough = any(0 < interval_s <= self._settings.slowest_meter_interval_s for interval_s in intervals_s)
        if self._settings.meter_interval_s and not often_enough and not capability.keeps_meter_interval:
            await self._write(SettingName.METER_INTERVAL, str(self._settings.meter_interval_s))

    async def _write(self, name: SettingName, value: str) -> bool:
        message = self._link.calls.write_setting(self._link.calls.setting_names[name], value)
        outcome = await self._link.ask(message)
        return isinstance(outcome, Answered) and self._link.calls.setting_taken(outcome.payload)
