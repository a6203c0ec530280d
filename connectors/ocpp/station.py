"""What the service remembers of one station over all its connections. A memory only: the store holds the truth."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Generic, TypeVar

from connectors.ocpp.capability import StationCapability, StationIdentity
from connectors.ocpp.dynamic import ToldPlan
from connectors.ocpp.external import ExternalLimits
from connectors.ocpp.health import StationHealth
from connectors.ocpp.meter_history import MeterHistory
from connectors.ocpp.skew import SkewMeter
from connectors.ocpp.witness import LimitWitness
from optimizer.domain.charger import NO_HABITS, ConnectorStatus, StationHabits, TransactionOpened
from optimizer.domain.ids import TransactionId
from optimizer.domain.site import Evse, Station

REMEMBERED = 32
"""Transactions and repeats remembered of each EVSE."""

NOTABLE_CLOCK_CHANGE_S = 2.0
"""A clock that is found to be wrong by this much more or less than before is worth a write [s]."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_BUSIEST_FIRST = (
    ConnectorStatus.CHARGING,
    ConnectorStatus.SUSPENDED_BY_EVSE,
    ConnectorStatus.SUSPENDED_BY_VEHICLE,
    ConnectorStatus.FINISHING,
    ConnectorStatus.PREPARING,
    ConnectorStatus.RESERVED,
    ConnectorStatus.FAULTED,
    ConnectorStatus.UNAVAILABLE,
    ConnectorStatus.AVAILABLE,
    ConnectorStatus.UNKNOWN,
)


_NO_VEHICLE = (ConnectorStatus.AVAILABLE, ConnectorStatus.RESERVED, ConnectorStatus.UNAVAILABLE)


class Recent(Generic[_Key, _Value]):
    """A dictionary of the newest few entries."""

    def __init__(self, greatest_number: int) -> None:
        self._entries: OrderedDict[_Key, _Value] = OrderedDict()
        self._greatest_number = greatest_number

    def get(self, key: _Key) -> _Value | None:
        """The entry, or ``None``."""
        return self._entries.get(key)

    def put(self, key: _Key, value: _Value) -> None:
        """Add or renew an entry; the oldest gives way."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._greatest_number:
            self._entries.popitem(last=False)


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """A certificate that a station asked for."""

    pem: str
    """Its PKCS #10 request in PEM."""
    number: int | None
    """Its number (2.1)."""


class StationRecord:
    """One station as the service knows it.

    Args:
        station: What stands there.
        skew: Measures its clock.
        reaction: Time after which a limit should show in the meter.
    """

    def __init__(self, station: Station, skew: SkewMeter, reaction: timedelta) -> None:
        self.station = station
        self.evses: dict[int, Evse] = {evse.ocpp_evse_id: evse for evse in station.evses}
        self.skew = skew
        self.health = StationHealth()
        self.identity: StationIdentity | None = None
        self.capability = self.first_capability = StationCapability()
        """How it is told limits, and how it was told them first; every other way is counted from there."""
        self.learnt_for: StationIdentity | None = None
        """Identity for which its abilities were asked."""
        self.rejections = 0
        """Limits rejected in a row."""
        self.is_exhausted = self.is_deaf = False
        """Whether it rejected limits in every form; whether it accepted and ignored them in every form."""
        self.ignored: set[StationCapability] = set()
        """Ways of telling limits that it accepted and then ignored."""
        self.boot_was_asked = False
        """Whether it was asked to announce itself."""
        self.witnesses: dict[int, LimitWitness] = {
            number: LimitWitness(evse, reaction) for number, evse in self.evses.items()
        }
        self.meters: dict[int, MeterHistory] = {number: MeterHistory(evse) for number, evse in self.evses.items()}
        self.active: dict[int, TransactionId] = {}
        """The running transaction of each EVSE number."""
        self.places: Recent[TransactionId, int] = Recent(REMEMBERED * len(self.evses))
        """EVSE number of running and finished transactions."""
        self.opened: Recent[str, TransactionOpened] = Recent(REMEMBERED * len(self.evses))
        """Answers to StartTransaction by content, for stations that repeat it."""
        self.refused_starts = 0
        """Starts at connectors that do not exist, of which the end is still to come (1.6)."""
        self.sequence: Recent[TransactionId, int] = Recent(REMEMBERED * len(self.evses))
        """Last sequence number of each transaction (2.x)."""
        self.gaps: list[TransactionId] = []
        """Transactions of which messages are missing, to be asked about (2.x)."""
        self.signing: list[SigningRequest] = []
        """Certificates to be signed and handed out."""
        self.external_limits = ExternalLimits()
        """Limits that others set at it."""
        self.safe_defaults_kw: dict[int, float] = {}
        """Safe default that the station took in this run of the service, by EVSE number [kW]."""
        self.wanted_defaults_kw: dict[int, float] = {}
        """Safe default that it should hold, by EVSE number [kW]."""
        self.told = {number: ToldPlan() for number in self.evses}
        """What the running transaction of each EVSE number was told."""
        self.told_maximum_kw: float | None = None
        """Station maximum that it took in this run of the service [kW]."""
        self._statuses: dict[tuple[int, int], tuple[ConnectorStatus, datetime]] = {}
        self._charging_states: dict[int, ConnectorStatus] = {}
        self.reported: dict[int, ConnectorStatus] = {}
        """State last handed on, by EVSE number."""
        self.kept_habits = NO_HABITS
        """What the store holds of its habits."""

    @property
    def habits(self) -> StationHabits:
        """What it was found to get wrong."""
        wrong_prefix = any(meter.tells_kwh_as_wh for meter in self.meters.values())
        offsets_kwh = {number: meter.register_offset_kwh for number, meter in self.meters.items()}
        offsets_kwh = {number: offset_kwh for number, offset_kwh in offsets_kwh.items() if offset_kwh}
        return StationHabits(self.skew.skew.total_seconds(), wrong_prefix, offsets_kwh)

    def recall(self, habits: StationHabits) -> None:
        """Know its habits from before the service started."""
        self.kept_habits = habits
        self.skew.recall(timedelta(seconds=habits.clock_ahead_s))
        if habits.tells_kwh_as_wh:
            for number, meter in self.meters.items():
                meter.expect_kwh_as_wh(habits.register_offsets_kwh.get(number, Decimal(0)))

    def expect_kwh_as_wh(self) -> None:
        """Read all its registers as kWh, whatever they say: one firmware serves them all."""
        for meter in self.meters.values():
            meter.expect_kwh_as_wh()

    def is_vacant(self, number: int) -> bool:
        """Whether an EVSE is known to have no vehicle."""
        return self.reported.get(number) in _NO_VEHICLE

    def evse_number(self, told: int | None) -> int | None:
        """The EVSE number meant by ``told``; where none is told and there is one EVSE, that one."""
        if told in self.evses:
            return told
        return next(iter(self.evses)) if told is None and len(self.evses) == 1 else None

    def begin(self, number: int, transaction_id: TransactionId) -> None:
        """A transaction runs at an EVSE."""
        self.active[number] = transaction_id
        self.places.put(transaction_id, number)

    def finish(self, transaction_id: TransactionId) -> int | None:
        """A transaction runs no more; its EVSE number where it is known."""
        number = self.places.get(transaction_id)
        if number is not None and self.active.get(number) == transaction_id:
            del self.active[number]
            self._charging_states.pop(number, None)
            self.forget_plan(number)
        return number

    def only_active(self) -> TransactionId | None:
        """The running transaction where there is exactly one."""
        return next(iter(self.active.values())) if len(self.active) == 1 else None

    def connector_state(
        self, number: int, connector: int, status: ConnectorStatus, at: datetime
    ) -> ConnectorStatus | None:
        """The EVSE's state after one of its connectors reported: the busiest of its connectors.

        In 2.x a connector is just occupied; what the vehicle does is told with the transaction. A report older than
        the one held was stored by the station and changes nothing: ``None``.
        """
        held = self._statuses.get((number, connector))
        if held is not None and at < held[1]:
            return None
        self._statuses[number, connector] = (status, at)
        of_evse = [state for (evse, _), (state, _) in self._statuses.items() if evse == number]
        busiest = min(of_evse, key=_BUSIEST_FIRST.index)
        if busiest is ConnectorStatus.PREPARING:
            return self._charging_states.get(number, busiest)
        return busiest

    def charging_state(self, number: int, status: ConnectorStatus) -> None:
        """The transaction at an EVSE told what the vehicle does (2.x)."""
        self._charging_states[number] = status

    def forget_plan(self, number: int) -> None:
        """The plan of an EVSE is no more."""
        self.told[number].end_dynamic()
        self.told[number] = ToldPlan()

    def forget_profiles(self) -> None:
        """The station restarted: what it was told may be gone, and what it rejects it may now take."""
        for number in self.evses:
            self.forget_plan(number)
        self.safe_defaults_kw.clear()
        self.external_limits = ExternalLimits()
        self.told_maximum_kw = None
        self.reported.clear()
        self.rejections = 0
        self.is_exhausted = self.is_deaf = False

    def start_capability(self, capability: StationCapability) -> None:
        """Tell limits as ``capability`` says, from what is known of its kind."""
        self.capability = self.first_capability = capability
        self.ignored.clear()
        for witness in self.witnesses.values():
            witness.start_anew()
            witness.expect_reaction(capability.reaction_s)

    def note_what_was_seen(self) -> None:
        """Take what the meters have shown of limits into the record of its abilities."""
        seen = self.witnesses.values()
        known = self.capability
        currents_a = [witness.least_current_a for witness in seen] + [known.least_current_a]
        reactions_s = [witness.reaction_s for witness in seen] + [known.reaction_s]
        measured = frozenset(known.seen_measurands).union(*(meter.measurands for meter in self.meters.values()))
        self.capability = replace(
            known,
            proven=known.proven or any(witness.is_proven for witness in seen),
            least_current_a=min((value for value in currents_a if value is not None), default=None),
            reaction_s=max((value for value in reactions_s if value is not None), default=None),
            seen_measurands=tuple(sorted(measured)),
        )


def is_news(known: StationHabits, kept: StationHabits) -> bool:
    """Whether a station's habits have changed by as much as is worth a write."""
    clock_change_s = abs(known.clock_ahead_s - kept.clock_ahead_s)
    return replace(known, clock_ahead_s=kept.clock_ahead_s) != kept or clock_change_s >= NOTABLE_CLOCK_CHANGE_S
