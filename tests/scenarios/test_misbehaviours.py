"""Each misbehaviour by its name."""

from __future__ import annotations

from datetime import timedelta

import pytest
from station_wire import (
    NOON,
    V16,
    VERSIONS,
    Wire,
    at_minute,
    charging,
    limit_call,
    registers,
)

from scenarios.station_settings import Misbehaviour, OcppVersion


def test_slow_obeys_late() -> None:
    wire = charging(V16, misbehaviours=frozenset({Misbehaviour.SLOW}))
    wire.ask(*limit_call(wire, 10.0), at=at_minute(1))
    wire.pass_time(at_minute(2))
    changes = [(step.at, round(step.power_kw, 2)) for step in wire.core.evses[1].physics.trace.steps]
    assert changes == [(NOON, 22.08), (at_minute(1) + timedelta(seconds=20), 6.9)]


REFUSING = {
    "rejects amperes": (Misbehaviour.REJECTS_AMPERES, (10.0, "A"), "Rejected"),
    "rejects amperes, takes watts": (Misbehaviour.REJECTS_AMPERES, (6900.0, "W"), "Accepted"),
    "rejects zero": (Misbehaviour.REJECTS_ZERO, (0.0, "A"), "Rejected"),
    "rejects zero, takes more": (Misbehaviour.REJECTS_ZERO, (6.0, "A"), "Accepted"),
}


@pytest.mark.parametrize(("misbehaviour", "limit", "status"), REFUSING.values(), ids=REFUSING)
def test_refusing(misbehaviour: Misbehaviour, limit: tuple[float, str], status: str) -> None:
    wire = charging(V16, misbehaviours=frozenset({misbehaviour}))
    assert wire.ask(*limit_call(wire, limit[0], unit=limit[1]), at=at_minute(1)) == {"status": status}


def test_ignores_accepts_and_does_not_obey() -> None:
    wire = charging(V16, misbehaviours=frozenset({Misbehaviour.IGNORES}))
    assert wire.ask(*limit_call(wire, 10.0), at=at_minute(1)) == {"status": "Accepted"}
    wire.pass_time(at_minute(10))
    assert wire.core.evses[1].physics.trace.power_kw(at_minute(10)) == pytest.approx(22.08)


@pytest.mark.parametrize("version", VERSIONS)
def test_kwh_as_wh(version: OcppVersion) -> None:
    wire = charging(version, misbehaviours=frozenset({Misbehaviour.KWH_AS_WH}))
    wire.pass_time(at_minute(5))
    assert registers(wire)["12:05:00"] == 1.84


@pytest.mark.parametrize("version", VERSIONS)
def test_transaction_minus_one(version: OcppVersion) -> None:
    wire = charging(version, misbehaviours=frozenset({Misbehaviour.TRANSACTION_MINUS_ONE}))
    wire.pass_time(at_minute(5))
    (values,) = wire.of("MeterValues")
    assert values.get("transactionId") == (-1 if version is V16 else None)


@pytest.mark.parametrize("version", VERSIONS)
def test_old_samples_come_again_between_new_ones(version: OcppVersion) -> None:
    wire = charging(version, misbehaviours=frozenset({Misbehaviour.REPLAYS_OLD_SAMPLES}))
    wire.pass_time(at_minute(25))
    payloads = wire.of("MeterValues") or [
        p for p in wire.of("TransactionEvent") if p["triggerReason"] == "MeterValueClock"
    ]
    stamps = [payload["meterValue"][0]["timestamp"][14:16] for payload in payloads]
    assert stamps == ["05", "10", "15", "20", "05", "25", "10"]
    registers = [p["meterValue"][0]["sampledValue"][0]["value"] for p in payloads]
    assert registers[4] == registers[0]


def test_no_wake() -> None:
    wire = charging(V16, misbehaviours=frozenset({Misbehaviour.NO_WAKE}))
    wire.ask(*limit_call(wire, 0.0), at=at_minute(1))
    wire.ask(*limit_call(wire, 16.0), at=at_minute(2))
    wire.pass_time(at_minute(10))
    assert wire.core.evses[1].physics.trace.power_kw(at_minute(10)) == 0.0
    assert wire.of("StatusNotification")[-1]["status"] == "SuspendedEV"


def test_a_boot_storm_ends() -> None:
    wire = Wire(V16, misbehaviours=frozenset({Misbehaviour.BOOT_STORM}))
    wire.connect()
    for minute in range(60):
        wire.pass_time(at_minute(minute))
    assert len(wire.of("BootNotification")) == 21


def test_a_skewed_clock_writes_and_reads_its_own_time() -> None:
    wire = charging(V16, misbehaviours=frozenset({Misbehaviour.SKEWED_CLOCK}))
    assert wire.of("StartTransaction")[0]["timestamp"] == "2026-03-02T11:58:25.000Z"
    wire.ask(*limit_call(wire, 10.0), at=at_minute(1))
    wire.pass_time(at_minute(5))
    changes = [step.at for step in wire.core.evses[1].physics.trace.steps]
    assert changes == [NOON, NOON + timedelta(seconds=95)]
