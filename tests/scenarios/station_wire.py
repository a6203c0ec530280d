"""A station core on a wire that answers at once, and what tests do with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from optimizer.domain.ids import CircuitId, EvseId, StationId, TokenId
from optimizer.domain.site import Evse, Station
from scenarios.ocpp_frames import Call, check_call, result_problem
from scenarios.station_core import StationCore
from scenarios.station_settings import OcppVersion, StationSettings
from scenarios.station_state import StationWatchers, Visit
from scenarios.vehicle_model import VehicleModel
from scenarios.virtual_station import DIALECTS

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TOKEN = TokenId("TOKEN")
VERSIONS = tuple(OcppVersion)
V16, V201, V21 = OcppVersion.V16, OcppVersion.V201, OcppVersion.V21


def at_minute(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def virtual_evse(number: int) -> Evse:
    return Evse(EvseId(f"e{number}"), StationId("s"), number, CircuitId("c"), max_current_a=32.0)


class Wire:
    """Answers a core's calls as a friendly central system does, and checks all it says against the schemas."""

    def __init__(self, version: OcppVersion, evses: int = 1, evse: Evse | None = None, **settings: Any) -> None:
        station = Station(StationId("s"), (evse,) if evse else tuple(virtual_evse(n + 1) for n in range(evses)))
        numbers = count(1)
        self.opened: list[Visit] = []
        self.ended: list[Visit] = []
        watchers = StationWatchers(
            [lambda _, visit: self.opened.append(visit)], [lambda _, visit: self.ended.append(visit)]
        )
        self.version = version
        self.core = StationCore(
            StationSettings(station, version, **settings),
            NOON,
            DIALECTS[version],
            lambda: f"id-{next(numbers)}",
            watchers,
        )
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.token_status = "Accepted"
        self._transactions = count(501)

    def connect(self, at: datetime = NOON) -> None:
        self.core.connected(at)
        self.flush()

    def flush(self) -> None:
        """Everything that waits is sent and answered."""
        while (call := self.core.outbox.head) is not None:
            call.attempts += 1
            payload = dict(call.payload)
            check_call(Call(call.message_id, call.action, payload), self.version.value)
            self.told.append((call.action, payload))
            answer = self._answer(call.action)
            assert not result_problem(call.action, answer, self.version.value)
            self.core.outbox.acknowledge(call.message_id, answer)

    def pass_time(self, until: datetime) -> None:
        self.core.advance(until)
        self.flush()

    def ask(self, action: str, payload: dict[str, Any], at: datetime) -> dict[str, Any]:
        check_call(Call("x", action, payload), self.version.value)
        answer = dict(self.core.answer(action, payload, at))
        assert not result_problem(action, answer, self.version.value)
        self.flush()
        return answer

    def of(self, action: str) -> list[dict[str, Any]]:
        return [payload for told, payload in self.told if told == action]

    def _answer(self, action: str) -> dict[str, Any]:
        about = {"status": self.token_status}
        match action:
            case "BootNotification":
                return {"status": "Accepted", "currentTime": "2026-03-02T12:00:00Z", "interval": 86400}
            case "Heartbeat":
                return {"currentTime": "2026-03-02T12:00:00Z"}
            case "Authorize":
                return {"idTagInfo": about} if self.version is V16 else {"idTokenInfo": about}
            case "NotifyEVChargingNeeds":
                return {"status": "Processing"}
            case "StartTransaction":
                return {"transactionId": next(self._transactions), "idTagInfo": about}
            case _:
                return {}


def charging(version: OcppVersion, takes_kwh: float = 50.0, leaves: float | None = None, **settings: Any) -> Wire:
    wire = Wire(version, **settings)
    wire.connect()
    wire.core.plug_in(1, VehicleModel(takes_kwh), TOKEN, NOON, None if leaves is None else at_minute(leaves))
    wire.flush()
    return wire


def limit_call(
    wire: Wire, limit: float, number: int = 1, unit: str = "A", purpose: str = "TxProfile"
) -> tuple[str, dict[str, Any]]:
    """SetChargingProfile with one limit from noon on."""
    schedule = {
        "startSchedule": "2026-03-02T12:00:00Z",
        "chargingRateUnit": unit,
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit, "numberPhases": 3}],
    }
    profile: dict[str, Any] = {
        "stackLevel": 1, "chargingProfilePurpose": purpose, "chargingProfileKind": "Absolute",
    }  # fmt: skip
    if wire.version is V16:
        profile |= {"chargingProfileId": number, "chargingSchedule": schedule}
        return "SetChargingProfile", {"connectorId": 1, "csChargingProfiles": profile}
    profile |= {"id": number, "chargingSchedule": [{**schedule, "id": 1}]}
    going = wire.core.evses[1].transaction
    if purpose == "TxProfile":
        profile["transactionId"] = going.id if going else "none"
    return "SetChargingProfile", {"evseId": 1, "chargingProfile": profile}


def registers(wire: Wire) -> dict[str, float]:
    """Register by timestamp, of all readings told."""
    values = [entry for payload in wire.of("MeterValues") for entry in payload["meterValue"]]
    values += [entry for payload in wire.of("TransactionEvent") for entry in payload.get("meterValue", ())]
    return {entry["timestamp"][11:19]: float(entry["sampledValue"][0]["value"]) for entry in values}
