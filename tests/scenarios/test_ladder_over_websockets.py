"""How each kind of station wants limits told: found by trial, believed when the meter shows it, known to the next one."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from meeting import EVSE, SETTINGS, STATION, Meeting, meeting_of
from station_wire import V16, V201

from connectors.ocpp.capability import FileCapabilities, PlanPurpose, StationCapability, StationIdentity
from connectors.ocpp.capability import RateUnit as Unit
from optimizer.domain.charger import LimitState
from scenarios.profiles import ProfileKind, ProfilePurpose, ProfileRules, RateUnit
from scenarios.station_settings import OcppVersion
from scenarios.vehicle_model import VehicleModel

KIND = StationIdentity("chargehorizon", "virtual", "1")
OTHER_FIRMWARE = StationIdentity("chargehorizon", "virtual", "2")
SEEN_ON_AC = ("Current.Import", "Energy.Active.Import.Register", "Power.Active.Import", "Voltage")
AS_DEFAULT = {"plan_purpose": PlanPurpose.TX_DEFAULT_PROFILE}
AN_AMPERE_KW = 0.69
"""On three phases."""
WATTS = frozenset({RateUnit.WATTS})

TAKEN: dict[str, tuple[ProfileRules, dict[str, Any]]] = {
    "all forms": (ProfileRules(), {"rate_unit": None, "absolute": True, "stack_level": 0}),
    "watts only": (ProfileRules(units=WATTS), {"rate_unit": Unit.W}),
    "relative only": (ProfileRules(kinds=frozenset({ProfileKind.RELATIVE})), {"absolute": False}),
    "default profiles only": (ProfileRules(purposes=frozenset({ProfilePurpose.TX_DEFAULT})), AS_DEFAULT),
    "high stack levels only": (ProfileRules(least_stack_level=8), {"stack_level": 9}),
    "stack level 0 only": (ProfileRules(max_stack_level=0), {"stack_level": 0, "greatest_stack_level": 0}),
    "whole amperes only": (ProfileRules(whole_amperes=True, units=frozenset({RateUnit.AMPERES})), {"whole_amperes": True}),
    "two periods only": (ProfileRules(max_periods=2), {"max_periods": 2}),
    "watts in relative default profiles only": (
        ProfileRules(
            units=WATTS,
            kinds=frozenset({ProfileKind.RELATIVE}),
            purposes=frozenset({ProfilePurpose.TX_DEFAULT}),
        ),
        {"rate_unit": Unit.W, "absolute": False, **AS_DEFAULT},
    ),
    "TxProfile taken and ignored": (ProfileRules(ignored=frozenset({ProfilePurpose.TX})), AS_DEFAULT),
    "amperes taken and ignored": (ProfileRules(ignored=frozenset({RateUnit.AMPERES})), {"rate_unit": Unit.W}),
    "absolute taken and ignored": (ProfileRules(ignored=frozenset({ProfileKind.ABSOLUTE})), {"absolute": False}),
}  # fmt: skip


async def charges(meeting: Meeting, takes_kwh: float = 60.0) -> None:
    await meeting.charging(VehicleModel(takes_kwh))
    await meeting.until(lambda: meeting.system._records[STATION].learnt_for is not None)


async def told_until_followed(meeting: Meeting, limit_kw: float) -> int:
    """Tell a limit again and again as control does, until it is what flows; how often that was."""
    for number in range(1, 12):
        await meeting.limit(limit_kw, limit_kw + 2.0, 4.14)
        followed = limit_kw - AN_AMPERE_KW < meeting.power_kw <= limit_kw + 1e-6
        await meeting.pass_minutes(20)
        if followed:
            return number
    raise AssertionError(f"{meeting.power_kw} kW flow, {limit_kw} kW were told")


@pytest.mark.parametrize("version", [V16, V201])
@pytest.mark.parametrize("case", TAKEN)
async def test_the_form_is_found_proven_kept_and_used_at_once_by_the_next_service(
    tmp_path: Path, case: str, version: OcppVersion
) -> None:
    rules, expected = TAKEN[case]
    path = tmp_path / "abilities.json"
    async with meeting_of(version, profile_rules=rules, capabilities=FileCapabilities(path)) as meeting:
        await charges(meeting)
        await told_until_followed(meeting, 7.0)
        assert await FileCapabilities(path).capability(KIND) is None, "accepted alone proves nothing"
        await told_until_followed(meeting, 11.6)
        await told_until_followed(meeting, 9.0)
    known = await FileCapabilities(path).capability(KIND)
    assert known is not None
    assert known.proven
    assert {name: value for name, value in asdict(known).items() if name in expected} == expected
    assert known.least_current_a == pytest.approx(10.1, abs=0.2), "the least limit under which energy was seen to flow"
    assert known.seen_measurands == SEEN_ON_AC, "SoC is agreed to, and never comes"
    assert "SoC" in known.measurands
    async with meeting_of(version, profile_rules=rules, capabilities=FileCapabilities(path)) as meeting:
        await charges(meeting)
        assert await told_until_followed(meeting, 7.0) == 1
        assert len(meeting.profiles) == 1, "no form is tried that is known not to work"


@pytest.mark.parametrize("version", [V16, V201])
async def test_a_pause_where_zero_is_not_taken_is_the_least_current_and_said_so(version: OcppVersion) -> None:
    async with meeting_of(version, profile_rules=ProfileRules(takes_zero=False)) as meeting:
        await charges(meeting)
        assert await meeting.limit(0.0) is LimitState.REJECTED
        assert meeting.power_kw == pytest.approx(4.14), "what flows is what the caller was told"
        assert not meeting.system._records[STATION].capability.zero_allowed
        assert len(meeting.profiles) == 2


async def test_who_obeys_the_bound_on_the_station_alone_gets_that() -> None:
    """It takes every plan and every default and obeys none: after all forms, the whole station is bounded, once."""
    deaf = ProfileRules(ignored=frozenset({ProfilePurpose.TX, ProfilePurpose.TX_DEFAULT}))
    async with meeting_of(V16, profile_rules=deaf) as meeting:
        await charges(meeting, takes_kwh=900.0)
        await meeting.system.set_safe_default(STATION, EVSE, 4.14)
        rounds = 0
        while meeting.power_kw > 4.2 and rounds < 40:
            rounds += 1
            await meeting.limit(7.0, 4.14)
            await meeting.pass_minutes(20)
        assert meeting.power_kw == pytest.approx(4.14)
        assert rounds > 20, "every other form comes first"
        purposes = [told["csChargingProfiles"]["chargingProfilePurpose"] for told in meeting.profiles]
        assert purposes.count("ChargePointMaxProfile") == 1


async def test_where_the_operator_says_so_a_pause_is_the_least_current_from_the_first_time() -> None:
    served = replace(SETTINGS, never_zero_stations=frozenset({STATION}))
    async with meeting_of(V16, served=served) as meeting:
        await charges(meeting)
        assert await meeting.limit(0.0) is LimitState.REJECTED
        assert meeting.power_kw == pytest.approx(4.14)
        assert len(meeting.profiles) == 1, "zero is not even tried"
        assert await meeting.limit(11.04) is LimitState.ACCEPTED
        assert meeting.power_kw == pytest.approx(11.04)


async def test_new_firmware_is_a_new_kind_of_station(tmp_path: Path) -> None:
    """What was proven of the old firmware says nothing of the new: the station is asked and tried again."""
    path = tmp_path / "abilities.json"
    await FileCapabilities(path).save(KIND, StationCapability(rate_unit=Unit.W, proven=True))
    for firmware, unit in (("1", "W"), ("2", "A")):
        async with meeting_of(V16, firmware=firmware, capabilities=FileCapabilities(path)) as meeting:
            await charges(meeting)
            await meeting.limit(7.0)
            (told,) = meeting.profiles
            assert told["csChargingProfiles"]["chargingSchedule"]["chargingRateUnit"] == unit
            asked = meeting.asked("GetConfiguration")
            assert len(asked) == 1
    assert await FileCapabilities(path).capability(OTHER_FIRMWARE) is None


async def test_an_update_in_the_middle_of_a_stay_is_learnt_of_with_the_boot(tmp_path: Path) -> None:
    async with meeting_of(V16, capabilities=FileCapabilities(tmp_path / "abilities.json")) as meeting:
        await charges(meeting)
        record = meeting.system._records[STATION]
        record.start_capability(StationCapability(rate_unit=Unit.W, proven=True))
        meeting.station.core.firmware = "2"
        meeting.station.core.boot()
        meeting.station._wake()
        await meeting.until(lambda: record.learnt_for == OTHER_FIRMWARE)
        assert (record.capability.rate_unit, record.capability.proven) == (None, False)
        assert len(meeting.asked("GetConfiguration")) == 2
