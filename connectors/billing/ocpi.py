"""Energy-cost records as OCPI 2.2.1 charge detail records (CDRs), for systems that take nothing else.

A CDR is sealed once it was sent. So the first record of a session becomes a CDR; a later, final one becomes a credit
CDR that takes the first back and a CDR of its own. Adjustments say nothing that these two do not.

The costs are what the energy cost the site: no mark-up, no tax. Money and energy are rounded to OCPI's four decimals;
the records themselves stay exact.

Time at a limit of zero that the service caused is never PARKING_TIME: that is only time in which the vehicle itself
asked for no power (correction of 2026). Such a pause counts as TIME, and the remark tells how long it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal
from uuid import NAMESPACE_URL, uuid5

from optimizer.domain.cost import EnergyCostRecord, RecordStatus
from optimizer.errors import InvalidInput

LONGEST_ID = 36
"""Of a CDR or session; only a credit CDR may append three characters."""

CREDIT_SUFFIX = "-C"
FOUR_DECIMALS = Decimal("0.0001")

Fields = dict[str, object]
PowerType = Literal["AC_1_PHASE", "AC_2_PHASE", "AC_2_PHASE_SPLIT", "AC_3_PHASE", "DC"]


@dataclass(frozen=True, slots=True)
class CdrParty:
    """The charge point operator that owns the CDR."""

    country_code: str
    """ISO 3166-1 alpha-2."""
    party_id: str
    """Three characters, by the eMI3 registry."""


@dataclass(frozen=True, slots=True)
class CdrToken:
    """What the driver presented."""

    uid: str
    """Its identification, a pseudonym where the driver is not to be known."""
    kind: Literal["AD_HOC_USER", "APP_USER", "OTHER", "RFID"]
    """OCPI TokenType."""
    contract_id: str
    """Contract of the driver, the uid where there is none."""
    issuer: CdrParty
    """Who issued it."""


@dataclass(frozen=True, slots=True)
class CdrPlace:
    """Where the vehicle stood, as the operator publishes it."""

    location_id: str
    """Id of the location."""
    address: str
    """Street and number."""
    city: str
    """Town."""
    country: str
    """ISO 3166-1 alpha-3."""
    latitude_deg: float
    """Degrees north."""
    longitude_deg: float
    """Degrees east."""
    evse_uid: str
    """Id of the EVSE inside the operator's system."""
    evse_id: str
    """Id of the EVSE for people (eMI3)."""
    connector_id: str
    """Id of the plug at the EVSE."""
    connector_standard: str
    """OCPI ConnectorType, for example IEC_62196_T2."""
    connector_format: Literal["SOCKET", "CABLE"]
    """Whether a cable hangs at the station."""
    power_type: PowerType
    """OCPI PowerType."""


@dataclass(frozen=True, slots=True)
class CdrContext:
    """What a CDR tells besides the cost."""

    party: CdrParty
    """Who owns it."""
    token: CdrToken
    """Who charged."""
    place: CdrPlace
    """Where."""
    auth_method: Literal["AUTH_REQUEST", "COMMAND", "WHITELIST"] = "WHITELIST"
    """How the token was accepted."""
    parking_h: Decimal = Decimal(0)
    """Time in which the vehicle itself asked for no power [h]."""


def charge_detail_records(
    record: EnergyCostRecord, context: CdrContext, replaced: EnergyCostRecord | None = None
) -> tuple[Fields, ...]:
    """The CDRs to send for a record.

    Args:
        record: A provisional or final record.
        context: What a CDR tells besides the cost.
        replaced: The record already sent that ``record`` takes the place of; ``None``: nothing was sent before.

    Raises:
        InvalidInput: The record is an adjustment, ``replaced`` is of another session, or the vehicle was parked for
            longer than it stayed.
    """
    if record.status is RecordStatus.ADJUSTMENT:
        raise InvalidInput("record.status", record.status.value, "give the final record and the one it replaces")
    if replaced is None:
        return (_detail_record(record, context),)
    if replaced.session_id != record.session_id or replaced.currency != record.currency:
        raise InvalidInput("replaced", replaced.id, f"must be an earlier record of session {record.session_id}")
    return _credit(replaced, context, at=record.made_at), _detail_record(record, context)


def _detail_record(record: EnergyCostRecord, context: CdrContext) -> Fields:
    total_h = Decimal(str(record.window.duration_h))
    charging_h = total_h - context.parking_h
    if charging_h < 0:
        raise InvalidInput("context.parking_h", context.parking_h, f"must not exceed the session's {total_h} h")
    # OCPI's ENERGY is what was charged less what was fed back.
    dimensions = [
        {"type": "ENERGY", "volume": _number(record.energy_kwh - record.returned_kwh)},
        {"type": "TIME", "volume": _number(charging_h)},
    ]
    if record.returned_kwh:
        dimensions.append({"type": "ENERGY_IMPORT", "volume": _number(record.energy_kwh)})
        dimensions.append({"type": "ENERGY_EXPORT", "volume": _number(record.returned_kwh)})
    if context.parking_h:
        dimensions.append({"type": "PARKING_TIME", "volume": _number(context.parking_h)})
    start = _time(record.window.start)
    return {
        "country_code": context.party.country_code,
        "party_id": context.party.party_id,
        "id": _short(record.id),
        "start_date_time": start,
        "end_date_time": _time(record.window.end),
        "session_id": _short(record.session_id),
        "cdr_token": _token(context.token),
        "auth_method": context.auth_method,
        "cdr_location": _location(context.place),
        "currency": record.currency,
        "charging_periods": [{"start_date_time": start, "dimensions": dimensions}],
        "total_cost": {"excl_vat": _number(record.total)},
        "total_energy": _number(record.energy_kwh),
        "total_energy_cost": {"excl_vat": _number(record.total)},
        "total_time": _number(total_h),
        "total_parking_time": _number(context.parking_h),
        "remark": (
            f"energy cost without mark-up, {record.status.value}; paused by energy management for "
            f"{record.optimizer_pause_h.normalize():f} h, counted as TIME, not as parking"
        ),
        "last_updated": _time(record.made_at),
    }


def _credit(replaced: EnergyCostRecord, context: CdrContext, at: datetime) -> Fields:
    """The CDR that takes ``replaced`` back."""
    original = _detail_record(replaced, context)
    taken_back = {"excl_vat": _number(-replaced.total)}
    return original | {
        "id": f"{original['id']}{CREDIT_SUFFIX}",
        "total_cost": taken_back,
        "total_energy_cost": taken_back,
        "credit": True,
        "credit_reference_id": original["id"],
        "last_updated": _time(at),
    }


def _token(token: CdrToken) -> Fields:
    return {
        "country_code": token.issuer.country_code,
        "party_id": token.issuer.party_id,
        "uid": token.uid,
        "type": token.kind,
        "contract_id": token.contract_id,
    }


def _location(place: CdrPlace) -> Fields:
    return {
        "id": place.location_id,
        "address": place.address,
        "city": place.city,
        "country": place.country,
        "coordinates": {"latitude": f"{place.latitude_deg:.6f}", "longitude": f"{place.longitude_deg:.6f}"},
        "evse_uid": place.evse_uid,
        "evse_id": place.evse_id,
        "connector_id": place.connector_id,
        "connector_standard": place.connector_standard,
        "connector_format": place.connector_format,
        "connector_power_type": place.power_type,
    }


def _short(identifier: str) -> str:
    """The id itself where OCPI has room for it, else one derived from it, always the same."""
    return identifier if len(identifier) <= LONGEST_ID else str(uuid5(NAMESPACE_URL, identifier))


def _number(value: Decimal) -> float:
    return float(value.quantize(FOUR_DECIMALS, ROUND_HALF_EVEN))


def _time(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
