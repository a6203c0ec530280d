"""What OCPP 2.1 adds, between the central system and a station that obeys it: over real WebSockets."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from meeting import EVSE, SETTINGS, STATION, Meeting, meeting_of
from planning_cases import evse_of, session_of, snapshot
from station_wire import V16, V21, V201, at_minute

from optimizer.control.ceilings import Feeder
from optimizer.control.dispatch import profile_of
from optimizer.control.settings import ControlSettings
from optimizer.control.targets import vehicle_as_stated
from optimizer.domain.charger import LimitCommand, LimitState
from optimizer.domain.series import PowerSeries, PriceSeries
from optimizer.domain.session import DepartureTarget, Vehicle
from optimizer.errors import InvalidConfiguration
from optimizer.planning.assemble import problem_from_snapshot
from optimizer.planning.settings import PlanningSettings
from optimizer.planning.solve import plan_charging
from scenarios.profiles import ProfileKind, ProfileRules, RateUnit
from scenarios.station_settings import OcppVersion
from scenarios.vehicle_model import StatedNeeds, VehicleModel

GIVES_BACK = VehicleModel(60.0, needs=StatedNeeds(20.0, at_minute(300)), gives_kwh=10.0)
V2X = replace(SETTINGS, v2x=True)
DYNAMIC = replace(SETTINGS, dynamic_profiles=True, plan_lasts_offline_s=600)
BOTH_WAYS = ProfileRules(discharges=True)
SWITCHING = {"phase_switching": True}
ORDINARY_KINDS = ProfileRules(kinds=frozenset(ProfileKind) - {ProfileKind.DYNAMIC})


def periods_of(profile: dict) -> list[dict]:
    return profile["chargingProfile"]["chargingSchedule"][0]["chargingSchedulePeriod"]


async def ready(meeting: Meeting, vehicle: VehicleModel | None = None) -> None:
    """A car charges, and the station's abilities are known."""
    await meeting.charging(vehicle)
    await meeting.until(lambda: meeting.system._records[STATION].learnt_for is not None)


class TestGivingBack:
    async def test_power_is_given_back_and_metered(self) -> None:
        async with meeting_of(V21, served=V2X, profile_rules=BOTH_WAYS) as meeting:
            await ready(meeting, GIVES_BACK)
            assert await meeting.limit(11.04) is LimitState.ACCEPTED
            await meeting.pass_minutes(30)
            drawn_kwh = meeting.usable[-1].register_kwh
            assert await meeting.limit(-6.9, 4.14) is LimitState.ACCEPTED
            assert meeting.power_kw == pytest.approx(-6.9)
            await meeting.pass_minutes(30)
            assert meeting.usable[-1].power_kw == pytest.approx(-6.9)
            assert meeting.usable[-1].register_kwh == drawn_kwh, "what is given back lowers no import register"
            assert float(meeting.usable[-1].export_register_kwh) == pytest.approx(3.45, abs=0.01)
            await meeting.pass_minutes(40)
            assert meeting.power_kw == pytest.approx(4.14), "the safe value follows by itself"

    async def test_it_is_written_as_a_setpoint(self) -> None:
        async with meeting_of(V21, served=V2X, profile_rules=BOTH_WAYS) as meeting:
            await ready(meeting, GIVES_BACK)
            await meeting.limit(-6.9, 4.14)
            given, safe = periods_of(meeting.profiles[-1])
            assert given == {
                "startPeriod": 0, "limit": 0.0, "numberPhases": 3,
                "operationMode": "CentralSetpoint", "setpoint": -10.0, "dischargeLimit": -10.0,
            }  # fmt: skip
            assert safe["limit"] == 6.0
            assert "setpoint" not in safe

    async def test_it_ends_where_the_vehicle_has_no_more_to_give(self) -> None:
        async with meeting_of(V21, served=V2X, profile_rules=BOTH_WAYS) as meeting:
            await ready(meeting, replace(GIVES_BACK, gives_kwh=2.0))
            await meeting.limit(-6.9)
            await meeting.pass_minutes(30)
            assert meeting.power_kw == 0.0
            assert meeting.station.core.evses[1].physics.returned.register_kwh(at_minute(30)) == pytest.approx(2.0)

    async def test_what_is_planned_is_given_back(self) -> None:
        """A vehicle with two hours of high prices ahead: from the plan to the power that flows."""
        async with meeting_of(V21, served=V2X, profile_rules=BOTH_WAYS) as meeting:
            await ready(meeting, GIVES_BACK)
            at = meeting.clock.now()
            vehicle = Vehicle(battery_kwh=60.0, max_discharge_kw=6.9, discharge_consent=True, discharge_floor_soc=0.3)
            session = session_of(
                "car", "e0", vehicle=vehicle, soc=0.8, soc_at=at, plugged_in_at=at - timedelta(hours=1),
                targets=(DepartureTarget(at + timedelta(hours=12), soc=0.7),),
            )  # fmt: skip
            hours = tuple(at + timedelta(hours=hour) for hour in (0, 2, 48))
            prices = PriceSeries("EUR", hours, (Decimal("1.50"), Decimal("0.10")))
            evse = replace(evse_of("e0"), max_current_a=32.0)
            known = snapshot(
                [session], evses=[evse], at=at, import_prices=prices,
                building=PowerSeries((hours[0], hours[-1]), (20.0,)), pv=PowerSeries((hours[0], hours[-1]), (0.0,)),
                export_prices=PriceSeries("EUR", (hours[0], hours[-1]), (Decimal("0.00"),)),
            )  # fmt: skip
            plan = plan_charging(problem_from_snapshot(known, PlanningSettings())).plan
            (planned,) = plan.sessions
            assert planned.power_kw[0] == pytest.approx(-6.9, abs=0.01)
            periods, _ = profile_of(plan, planned, Feeder(evse), at, 4.14, ControlSettings())
            (opened,) = meeting.ledger.begun.values()
            reply = await meeting.system.set_limit(LimitCommand(STATION, EVSE, opened.transaction_id, periods))
            assert reply.state is LimitState.ACCEPTED
            meeting.station.core.advance(at)
            assert meeting.power_kw == pytest.approx(-6.9, abs=0.1)

    @pytest.mark.parametrize(
        ("case", "version", "served", "rules"),
        [
            ("without the setting", V21, SETTINGS, BOTH_WAYS),
            ("to a station that names no such mode", V21, V2X, ProfileRules()),
            ("in OCPP 2.0.1", V201, V2X, BOTH_WAYS),
            ("in OCPP 1.6", V16, V2X, BOTH_WAYS),
        ],
    )
    async def test_elsewhere_it_is_a_pause(self, case: str, version: OcppVersion, served, rules: ProfileRules) -> None:
        async with meeting_of(version, served=served, profile_rules=rules) as meeting:
            await ready(meeting, GIVES_BACK)
            assert await meeting.limit(-6.9, 4.14) is LimitState.ACCEPTED, case
            assert meeting.power_kw == 0.0

    async def test_a_station_that_promised_too_much_pauses(self) -> None:
        async with meeting_of(V21, served=V2X, profile_rules=BOTH_WAYS) as meeting:
            await ready(meeting, GIVES_BACK)
            meeting.station.core.rules = ProfileRules(discharges=False)
            assert await meeting.limit(-6.9, 4.14) is LimitState.ACCEPTED
            assert meeting.power_kw == 0.0
            assert len(meeting.profiles) == 2

    @pytest.mark.parametrize(("served", "given_kw", "consents"), [(V2X, 11.04, True), (SETTINGS, None, False)])
    async def test_a_vehicle_that_asks_for_both_ways_consents(self, served, given_kw, consents: bool) -> None:
        async with meeting_of(V21, served=served, profile_rules=BOTH_WAYS) as meeting:
            await meeting.charging(GIVES_BACK)
            await meeting.until(lambda: meeting.ledger.needs)
            (needs,) = meeting.ledger.needs
            assert (needs.max_discharge_kw, needs.energy_kwh) == (given_kw, 20.0)
            assert (vehicle_as_stated(Vehicle(), needs).discharge_consent) is consents


class TestDynamicProfiles:
    async def test_one_profile_then_only_its_limit(self) -> None:
        async with meeting_of(V21, served=DYNAMIC) as meeting:
            await ready(meeting)
            for limit_kw in (11.04, 6.9, 0.0, 8.28):
                assert await meeting.limit(limit_kw) is LimitState.ACCEPTED
                assert meeting.power_kw == pytest.approx(limit_kw)
            (profile,) = meeting.profiles
            assert profile["chargingProfile"]["chargingProfileKind"] == "Dynamic"
            renewals = [payload for action, payload in meeting.heard if action == "UpdateDynamicSchedule"]
            assert [renewal["scheduleUpdate"] for renewal in renewals] == [
                {"limit": 10.0}, {"limit": 0.0}, {"limit": 12.0},
            ]  # fmt: skip

    async def test_later_pieces_are_told_when_their_time_has_come(self) -> None:
        async with meeting_of(V21, served=DYNAMIC) as meeting:
            await ready(meeting)
            await meeting.limit(11.04, 6.9, 4.14)
            await meeting.pass_minutes(61)
            await meeting.until(lambda: meeting.power_kw == pytest.approx(6.9))
            await meeting.pass_minutes(60)
            await meeting.until(lambda: meeting.power_kw == pytest.approx(4.14))

    async def test_a_newer_plan_ends_the_older(self) -> None:
        async with meeting_of(V21, served=DYNAMIC) as meeting:
            await ready(meeting)
            await meeting.limit(11.04, 4.14)
            await meeting.limit(8.28)
            await meeting.pass_minutes(70)
            assert meeting.power_kw == pytest.approx(8.28)

    async def test_offline_it_falls_back_to_the_safe_default(self) -> None:
        async with meeting_of(V21, served=DYNAMIC) as meeting:
            await ready(meeting)
            await meeting.system.set_safe_default(STATION, EVSE, 4.14)
            await meeting.limit(11.04)
            await meeting.cut_off()
            for minute, power_kw in ((9, 11.04), (11, 4.14)):
                meeting.clock.advance(minutes=minute - (meeting.clock.now() - at_minute(0)).total_seconds() / 60)
                meeting.station.core.advance(meeting.clock.now())
                assert meeting.power_kw == pytest.approx(power_kw)

    async def test_a_station_that_takes_none_gets_ordinary_ones(self) -> None:
        async with meeting_of(V21, served=DYNAMIC, profile_rules=ORDINARY_KINDS) as meeting:
            await ready(meeting)
            assert await meeting.limit(11.04, 4.14) is LimitState.ACCEPTED
            assert await meeting.limit(6.9, 4.14) is LimitState.ACCEPTED
            kinds = [profile["chargingProfile"]["chargingProfileKind"] for profile in meeting.profiles]
            assert kinds == ["Dynamic", "Absolute", "Absolute"]
            assert meeting.power_kw == pytest.approx(6.9)

    async def test_a_station_that_forgot_its_profile_gets_it_again(self) -> None:
        async with meeting_of(V21, served=DYNAMIC) as meeting:
            await ready(meeting)
            await meeting.limit(11.04)
            meeting.station.core.held = ()
            assert await meeting.limit(6.9) is LimitState.ACCEPTED
            assert len(meeting.profiles) == 2
            assert meeting.power_kw == pytest.approx(6.9)

    async def test_a_station_may_pull_what_holds_now(self) -> None:
        async with meeting_of(V21, served=DYNAMIC) as meeting:
            await ready(meeting)
            await meeting.limit(11.04)
            answers: list = []
            for profile_id in (2, 77):
                message = ("PullDynamicScheduleUpdate", lambda wanted=profile_id: {"chargingProfileId": wanted})
                meeting.station.core.tell(message, answered=answers.append)
            meeting.station._wake()
            await meeting.until(lambda: len(answers) == 2)
            assert answers[0] == {"status": "Accepted", "scheduleUpdate": {"limit": 16.0}}
            assert answers[1]["status"] == "Rejected"

    async def test_giving_back_and_charging_are_two_profiles(self) -> None:
        served = replace(DYNAMIC, v2x=True)
        async with meeting_of(V21, served=served, profile_rules=BOTH_WAYS) as meeting:
            await ready(meeting, GIVES_BACK)
            for limit_kw, profiles in ((11.04, 1), (-6.9, 2), (-4.14, 2), (6.9, 3)):
                assert await meeting.limit(limit_kw) is LimitState.ACCEPTED
                assert meeting.power_kw == pytest.approx(limit_kw)
                assert len(meeting.profiles) == profiles

    def test_the_setting_needs_the_fall_back(self) -> None:
        with pytest.raises(InvalidConfiguration, match="plan_lasts_offline_s"):
            replace(SETTINGS, dynamic_profiles=True)


class TestPhases:
    @pytest.mark.parametrize("version", [V16, V201, V21])
    async def test_one_phase_and_three_again(self, version: OcppVersion) -> None:
        async with meeting_of(version, evse=SWITCHING) as meeting:
            await ready(meeting)
            assert await meeting.limit(11.04, phases=1) is LimitState.ACCEPTED
            assert meeting.power_kw == pytest.approx(3.68), "16 A on one phase"
            assert await meeting.limit(6.9) is LimitState.ACCEPTED
            assert meeting.power_kw == pytest.approx(2.3), "it stays on one until it is told otherwise"
            assert await meeting.limit(6.9, phases=3) is LimitState.ACCEPTED
            assert meeting.power_kw == pytest.approx(6.9)

    async def test_the_phase_is_named_in_2x(self) -> None:
        async with meeting_of(V201, evse=SWITCHING) as meeting:
            await ready(meeting)
            await meeting.limit(11.04, phases=1)
            await meeting.limit(11.04, phases=3)
            one, three = (periods_of(profile)[0] for profile in meeting.profiles)
            assert (one["limit"], one["numberPhases"], one["phaseToUse"]) == (16.0, 1, 1)
            assert (three["numberPhases"], "phaseToUse" in three) == (3, False)

    async def test_in_watts_the_limit_is_that_of_the_phases_in_use(self) -> None:
        rules = ProfileRules(units=frozenset({RateUnit.WATTS}))
        async with meeting_of(V201, evse=SWITCHING, profile_rules=rules) as meeting:
            await ready(meeting)
            await meeting.limit(11.04, phases=1)
            assert periods_of(meeting.profiles[-1])[0]["limit"] == 3680.0
            assert meeting.power_kw == pytest.approx(3.68)

    @pytest.mark.parametrize("version", [V16, V201])
    async def test_a_station_that_cannot_is_not_asked(self, version: OcppVersion) -> None:
        async with meeting_of(version) as meeting:
            await ready(meeting)
            assert await meeting.limit(11.04, phases=1) is LimitState.REJECTED
            assert meeting.profiles == []
            assert await meeting.limit(11.04) is LimitState.ACCEPTED

    async def test_the_next_transaction_begins_on_all_phases(self) -> None:
        async with meeting_of(V201, evse=SWITCHING) as meeting:
            await ready(meeting)
            await meeting.limit(11.04, phases=1)
            meeting.station.unplug(1, meeting.clock.now())
            await meeting.until(lambda: meeting.ledger.finished)
            assert meeting.system._records[STATION].told[1].phases is None


class TestLimitsByPhase:
    SERVED = replace(SETTINGS, phase_limits=True)

    async def test_one_phase_is_told_as_zeros_on_the_others(self) -> None:
        async with meeting_of(V21, served=self.SERVED, evse=SWITCHING) as meeting:
            await ready(meeting)
            await meeting.limit(11.04, phases=1)
            period = periods_of(meeting.profiles[-1])[0]
            assert [period[name] for name in ("limit", "limit_L2", "limit_L3")] == [16.0, 0.0, 0.0]
            assert meeting.power_kw == pytest.approx(3.68)
            await meeting.limit(11.04, phases=3)
            period = periods_of(meeting.profiles[-1])[0]
            assert [period[name] for name in ("limit", "limit_L2", "limit_L3")] == [16.0, 16.0, 16.0]
            assert meeting.power_kw == pytest.approx(11.04)

    @pytest.mark.parametrize(
        ("served", "told"),
        [(SERVED, [20.0, 10.0, 16.0]), (SETTINGS, [10.0, None, None])],
        ids=["each phase its own", "else the least"],
    )
    async def test_a_station_maximum_by_phase(self, served, told: list[float | None]) -> None:
        async with meeting_of(V21, served=served) as meeting:
            await ready(meeting)
            reply = await meeting.system.set_station_maximum(STATION, 22.0, (20.0, 10.0, 16.0))
            assert reply.state is LimitState.ACCEPTED
            period = periods_of(meeting.profiles[-1])[0]
            assert [period.get(name) for name in ("limit", "limit_L2", "limit_L3")] == told
            meeting.station.core.advance(meeting.clock.now())
            assert meeting.power_kw == pytest.approx(6.9), "a car that draws alike from all is held by the least"


async def test_the_station_maximum_is_written_once_after_a_boot() -> None:
    served = replace(SETTINGS, station_maxima_kw={STATION: 6.9})
    async with meeting_of(V16, served=served) as meeting:
        await ready(meeting)
        await meeting.until(lambda: meeting.power_kw == pytest.approx(6.9))
        written = [profile["csChargingProfiles"]["chargingProfilePurpose"] for profile in meeting.profiles]
        assert written == ["ChargePointMaxProfile"]
        await meeting.limit(11.04)
        assert meeting.power_kw == pytest.approx(6.9), "the lesser of the layers holds"
