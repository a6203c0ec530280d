"""Virtual stations and the project's own central system, over real WebSockets: what one side says the other understands."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from meeting import EVSE, SETTINGS, STATION, meeting_of
from station_wire import V16, V21, V201, VERSIONS, at_minute

from optimizer.domain.charger import ConnectorStatus, LimitState
from scenarios.station_settings import Misbehaviour, OcppVersion
from scenarios.vehicle_model import StatedNeeds, VehicleModel


@pytest.mark.parametrize("version", VERSIONS)
async def test_limits_are_obeyed_and_metered(version: OcppVersion) -> None:
    async with meeting_of(version) as meeting:
        visit = await meeting.charging()
        assert await meeting.limit(11.04, 4.83) is LimitState.ACCEPTED
        assert meeting.power_kw == pytest.approx(11.04)
        await meeting.pass_minutes(70)
        assert meeting.power_kw == pytest.approx(4.83)
        last = meeting.usable[-1]
        assert last.at == at_minute(70)
        assert last.power_kw == pytest.approx(4.83)
        assert float(last.register_kwh or 0) == pytest.approx(visit.vehicle.taken_kwh, abs=0.002)
        assert await meeting.limit(0.0) is LimitState.ACCEPTED
        assert meeting.power_kw == 0.0
        assert await meeting.limit(22.08) is LimitState.ACCEPTED
        assert meeting.power_kw == pytest.approx(22.08)


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_safe_default_holds_from_the_first_moment(version: OcppVersion) -> None:
    async with meeting_of(version) as meeting:
        await meeting.until(lambda: meeting.ledger.boots and meeting.ledger.reports)
        assert (await meeting.system.set_safe_default(STATION, EVSE, 4.83)).state is LimitState.ACCEPTED
        await meeting.charging()
        assert meeting.power_kw == pytest.approx(4.83)
        assert await meeting.limit(11.04) is LimitState.ACCEPTED
        assert meeting.power_kw == pytest.approx(11.04)
        assert (await meeting.system.clear_limit(STATION, EVSE)).state is LimitState.ACCEPTED
        assert meeting.power_kw == pytest.approx(4.83)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_stay_with_an_outage_is_one_transaction(version: OcppVersion) -> None:
    async with meeting_of(version) as meeting:
        visit = await meeting.charging()
        await meeting.limit(11.04)
        await meeting.pass_minutes(10)
        link = meeting.system.link(STATION)
        assert link is not None
        await link.connection.end(1011, "an outage")
        await meeting.until(lambda: meeting.system.is_online(STATION) and meeting.station.connections == 2)
        await meeting.pass_minutes(10)
        assert meeting.power_kw == pytest.approx(11.04)
        meeting.station.unplug(1, meeting.clock.now())
        await meeting.until(lambda: meeting.ledger.finished)
        await meeting.told()
        assert len(meeting.ledger.begun) == 1
        (finished,) = meeting.ledger.finished
        assert finished.at == at_minute(20)
        assert float(finished.register_kwh or 0) == pytest.approx(visit.vehicle.taken_kwh, abs=0.002)


@pytest.mark.parametrize("version", [V201, V21])
async def test_what_a_car_asks_for_arrives(version: OcppVersion) -> None:
    async with meeting_of(version) as meeting:
        await meeting.charging(VehicleModel(60.0, needs=StatedNeeds(21.5, at_minute(300))))
        await meeting.until(lambda: meeting.ledger.needs)
        (needs,) = meeting.ledger.needs
        assert (needs.energy_kwh, needs.depart_at) == (21.5, at_minute(300))


HARMLESS_TO_METERING = {
    "slow": Misbehaviour.SLOW,
    "ignores": Misbehaviour.IGNORES,
    "replays old samples": Misbehaviour.REPLAYS_OLD_SAMPLES,
    "kWh as Wh": Misbehaviour.KWH_AS_WH,
    "transaction -1": Misbehaviour.TRANSACTION_MINUS_ONE,
    "skewed clock": Misbehaviour.SKEWED_CLOCK,
    "rejects amperes": Misbehaviour.REJECTS_AMPERES,
}


@pytest.mark.parametrize("version", [V16, V201])
@pytest.mark.parametrize("misbehaviour", HARMLESS_TO_METERING.values(), ids=HARMLESS_TO_METERING)
async def test_no_misbehaviour_bends_the_energy(misbehaviour: Misbehaviour, version: OcppVersion) -> None:
    async with meeting_of(version, misbehaviour) as meeting:
        visit = await meeting.charging()
        await meeting.limit(11.04)
        await meeting.pass_minutes(40)
        registers = [sample.register_kwh for sample in meeting.usable if sample.register_kwh is not None]
        assert len(registers) >= 4
        assert registers == sorted(registers)
        assert float(registers[-1]) == pytest.approx(visit.vehicle.taken_kwh, abs=0.01)


async def test_a_station_that_takes_watts_only_is_learnt() -> None:
    async with meeting_of(V16, Misbehaviour.REJECTS_AMPERES) as meeting:
        await meeting.charging()
        assert await meeting.limit(11.04) is LimitState.ACCEPTED
        assert meeting.power_kw == pytest.approx(11.04)


async def test_a_limit_in_the_time_of_a_skewed_clock() -> None:
    async with meeting_of(V16, Misbehaviour.SKEWED_CLOCK) as meeting:
        await meeting.charging()
        await meeting.pass_minutes(15)
        assert await meeting.limit(11.04) is LimitState.ACCEPTED
        assert meeting.power_kw == pytest.approx(11.04)
        assert meeting.usable[-1].at == meeting.clock.now()


async def test_a_station_that_never_answers_is_told_as_such() -> None:
    impatient = replace(SETTINGS, call_timeout_s=0.1)
    async with meeting_of(V16, Misbehaviour.NEVER_ANSWERS, served=impatient) as meeting:
        await meeting.charging()
        reply = asyncio.create_task(meeting.limit(11.04))
        assert await reply is LimitState.UNANSWERED
        assert meeting.power_kw == pytest.approx(22.08)


async def test_every_state_is_understood() -> None:
    async with meeting_of(V16) as meeting:
        await meeting.charging()
        await meeting.limit(0.0)
        await meeting.told()
        meeting.station.unplug(1, meeting.clock.now())
        meeting.station._wake()
        await meeting.told()
        assert [report.status for report in meeting.ledger.reports][-4:] == [
            ConnectorStatus.PREPARING, ConnectorStatus.CHARGING, ConnectorStatus.SUSPENDED_BY_EVSE,
            ConnectorStatus.AVAILABLE,
        ]  # fmt: skip
