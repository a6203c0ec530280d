"""Meter values as real stations write them -> one reading."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from connectors.ocpp.translate_meter import read_meter_value
from optimizer.domain.metering import ReadingReason
from optimizer.domain.site import CurrentType, Phase, Wiring

THREE_PHASES: dict = {}
ONE_PHASE = {"phases": (Phase.L1,)}
LINE_TO_LINE = {"wiring": Wiring.LINE_TO_LINE, "phases": (Phase.L1, Phase.L2), "voltage_v": 208.0}
DIRECT = {"current_type": CurrentType.DC, "max_current_a": 400.0}


def value(number, measurand=None, unit=None, phase=None, **more) -> dict:
    told = {"value": number, "measurand": measurand, "unit": unit, "phase": phase, **more}
    return {name: part for name, part in told.items() if part is not None}


def power(number, unit="W", phase=None, **more) -> dict:
    return value(number, "Power.Active.Import", unit, phase, **more)


def current(number, phase=None, unit="A") -> dict:
    return value(number, "Current.Import", unit, phase)


def volts(number, phase=None) -> dict:
    return value(number, "Voltage", "V", phase)


def read(make_evse, wiring, *values):
    return read_meter_value(
        {"timestamp": "2026-03-02T08:00:00Z", "sampledValue": list(values)}, make_evse("S", 1, **wiring)
    )


@pytest.mark.parametrize(
    ("told", "register_kwh"),
    [
        pytest.param(value("1234567"), "1234.567", id="no measurand, no unit: Wh register"),
        pytest.param(value("1.5", "Energy.Active.Import.Register", "kWh"), "1.5", id="kWh"),
        pytest.param(value(" 164.5 ", unit="Wh"), "0.1645", id="blanks around, fraction of a Wh"),
        pytest.param(value("0,25", unit="kWh"), "0.25", id="decimal comma"),
        pytest.param(value("7", unit="kW"), "7", id="kW written for kWh"),
        pytest.param(value(1234.5), "1.2345", id="2.x: a number"),
        pytest.param(
            {"value": 12, "unitOfMeasure": {"unit": "Wh", "multiplier": 3}}, "12", id="2.x: power of ten as multiplier"
        ),
        pytest.param({"value": 2, "unitOfMeasure": {"unit": "kWh"}}, "2", id="2.x: kWh"),
        pytest.param(value("0.1", unit="kWh"), "0.1", id="tenths stay exact"),
    ],
)
def test_registers_are_exact_kwh(make_evse, told, register_kwh) -> None:
    assert read(make_evse, THREE_PHASES, told).register_kwh == Decimal(register_kwh)


@pytest.mark.parametrize(
    "number", ["", "none", "NaN", "Infinity", "1e400", "-5", "12 kWh", True, None, [], {}, "9" * 400]
)
def test_unusable_register_is_left_out_and_told(make_evse, number) -> None:
    told = read(make_evse, THREE_PHASES, {"value": number}, power("1000"))
    assert (told.register_kwh, told.power_kw) == (None, 1.0)
    assert len(told.slips) == 1


@pytest.mark.parametrize(
    ("wiring", "values", "power_kw", "derived"),
    [
        pytest.param(THREE_PHASES, [power("11000")], 11.0, False, id="total in W"),
        pytest.param(THREE_PHASES, [power("11", "kW")], 11.0, False, id="total in kW"),
        pytest.param(THREE_PHASES, [power(11000.0, None)], 11.0, False, id="no unit: W"),
        pytest.param(
            THREE_PHASES, [power("3000", phase=name) for name in ("L1", "L2-N", "L3")], 9.0, True, id="sum of phases"
        ),
        pytest.param(
            THREE_PHASES, [power("9000"), power("3000", phase="L1")], 9.0, False, id="a total goes before the phases"
        ),
        pytest.param(THREE_PHASES, [power("1634", phase="L1")], 1.634, False, id="one-phase car: L1 alone"),
        pytest.param(
            THREE_PHASES,
            [power("3680", phase="L1"), *(current("16", name) for name in ("L1", "L2", "L3"))],
            11.04,
            True,
            id="power of one phase, current of three",
        ),
        pytest.param(
            THREE_PHASES,
            [volts("240", "L1-N"), volts("240", "L2-N"), current("10", "L1"), current("10", "L2")],
            4.8,
            True,
            id="volts times amperes",
        ),
        pytest.param(THREE_PHASES, [current("10", "L1")], 2.3, True, id="amperes alone, at the nominal voltage"),
        pytest.param(
            THREE_PHASES, [current("10")], 6.9, True, id="amperes without a phase count on all: the most it can mean"
        ),
        pytest.param(ONE_PHASE, [current("10")], 2.3, True, id="amperes without a phase on one path"),
        pytest.param(
            LINE_TO_LINE, [current("30", "L1"), current("30", "L2")], 6.24, True, id="line to line: one path, not two"
        ),
        pytest.param(
            THREE_PHASES, [power("7.2"), current("31", "L1")], 7.2, True, id="kW labelled W, shown by amperes"
        ),
        pytest.param(
            THREE_PHASES, [power("7200", "kW"), current("31", "L1")], 7.2, True, id="W labelled kW, shown by amperes"
        ),
        pytest.param(THREE_PHASES, [power("300"), current("2", "L1")], 0.3, False, id="a poor power factor is no slip"),
        pytest.param(
            THREE_PHASES, [value("5000", "Power.Active.Export", "W")], -5.0, True, id="export is negative import"
        ),
        pytest.param(
            THREE_PHASES,
            [value("16", "Current.Export", "A", "L1")],
            3.68,
            True,
            id="Current.Export alone means import",
        ),
        pytest.param(
            DIRECT,
            [power("50000", location="Outlet"), power("53000", location="Inlet")],
            50.0,
            False,
            id="DC: what the vehicle gets, not what the station takes",
        ),
        pytest.param(DIRECT, [current("120"), volts("400")], 48.0, True, id="DC: volts times amperes of the plug"),
        pytest.param(DIRECT, [current("120")], None, False, id="DC amperes alone say nothing"),
        pytest.param(THREE_PHASES, [value("1000")], None, False, id="energy only"),
        pytest.param(THREE_PHASES, [power("many"), current("x", "L1")], None, False, id="nothing readable"),
        pytest.param(THREE_PHASES, [power("1000", "Fahrenheit")], None, False, id="a unit that is none"),
    ],
)
def test_power(make_evse, wiring, values, power_kw, derived) -> None:
    reading = read(make_evse, wiring, *values)
    assert reading.power_kw == (None if power_kw is None else pytest.approx(power_kw))
    assert reading.derived is derived


@pytest.mark.parametrize(
    ("wiring", "values", "current_a"),
    [
        pytest.param(
            THREE_PHASES, [current("1", "L1"), current("2", "L2"), current("3", "L3")], (1, 2, 3), id="each phase"
        ),
        pytest.param(THREE_PHASES, [current("7.12", "L1"), current("0", "N")], (7.12, 0, 0), id="one-phase car"),
        pytest.param(THREE_PHASES, [current("7120", "L1", "mA")], (7.12, 0, 0), id="mA"),
        pytest.param(
            THREE_PHASES,
            [current("16", "L1"), power("11040")],
            (16, 16, 16),
            id="one of three phases told, power of all",
        ),
        pytest.param(THREE_PHASES, [current("16"), power("11040")], (16, 16, 16), id="no phase, power of three"),
        pytest.param(THREE_PHASES, [current("16"), power("3680")], None, id="no phase, could be a total or one phase"),
        pytest.param(THREE_PHASES, [current("16")], (16, 16, 16), id="no phase, no power: the most it can mean"),
        pytest.param(DIRECT, [current("120"), volts("400")], None, id="DC amperes are none of the supply's"),
        pytest.param(ONE_PHASE, [current("16")], (16, 0, 0), id="no phase on one path"),
        pytest.param(LINE_TO_LINE, [current("30")], (30, 30, 0), id="line to line: the same on both"),
        pytest.param(THREE_PHASES, [power("11040")], None, id="power only"),
    ],
)
def test_currents(make_evse, wiring, values, current_a) -> None:
    assert read(make_evse, wiring, *values).current_a == current_a


@pytest.mark.parametrize(
    ("wiring", "values", "voltage_v"),
    [
        pytest.param(THREE_PHASES, [volts("230", "L1-N"), volts("232", "L2-N"), volts("0", "L3-N")], 231, id="mean"),
        pytest.param(THREE_PHASES, [volts("400", "L1-L2")], 230.94, id="between lines, wired to neutral"),
        pytest.param(LINE_TO_LINE, [volts("208", "L1-L2"), volts("120", "L1-N")], 208, id="wired between lines"),
        pytest.param(DIRECT, [volts("412.5")], 412.5, id="DC"),
    ],
)
def test_voltage(make_evse, wiring, values, voltage_v) -> None:
    assert read(make_evse, wiring, *values).voltage_v == pytest.approx(voltage_v, abs=0.01)


class TestOtherValues:
    def test_soc_is_a_share(self, make_evse) -> None:
        assert read(make_evse, DIRECT, value("47", "SoC", "Percent", location="EV")).soc == pytest.approx(0.47)

    def test_soc_beyond_full_is_left_out(self, make_evse) -> None:
        reading = read(make_evse, DIRECT, value("147", "SoC", "Percent"))
        assert (reading.soc, len(reading.slips)) == (None, 1)

    def test_interval_energy_stands_apart_from_registers(self, make_evse) -> None:
        reading = read(make_evse, THREE_PHASES, value("250", "Energy.Active.Import.Interval", "Wh"))
        assert (reading.register_kwh, reading.interval_kwh) == (None, Decimal("0.25"))

    def test_registers_of_phases_add_up(self, make_evse) -> None:
        told = [value("100", "Energy.Active.Import.Register", "Wh", phase) for phase in ("L1", "L2", "L3")]
        assert read(make_evse, THREE_PHASES, *told).register_kwh == Decimal("0.300")

    def test_measurands_of_no_use_pass_without_complaint(self, make_evse) -> None:
        reading = read(
            make_evse, THREE_PHASES, value("27.0", "Temperature", "Celcius"), value("50", "Frequency", "Hertz")
        )
        assert reading.is_empty
        assert reading.slips == ()

    def test_most_frequent_context_leads(self, make_evse) -> None:
        reading = read(
            make_evse,
            THREE_PHASES,
            value("500", context="Sample.Periodic"),
            value("0", context="Transaction.Begin"),
            power("362", context="Sample.Periodic"),
        )
        assert (reading.register_kwh, reading.reason) == (Decimal("0.5"), ReadingReason.PERIODIC)

    def test_unknown_context_is_other(self, make_evse) -> None:
        assert read(make_evse, THREE_PHASES, value("1", context="Full.Moon")).reason is ReadingReason.OTHER

    def test_signed_value_of_16_is_kept_as_it_came(self, make_evse) -> None:
        signed = 'OCMF|{"FV":"1.0","RD":[{"RV":2935.6}]}|{"SD":"304402"}  \n'
        told = read(make_evse, THREE_PHASES, {"value": signed, "format": "SignedData"}, value("1000"))
        assert told.signed_value == signed
        assert told.register_kwh == Decimal(1)

    def test_the_register_of_energy_given_back(self, make_evse) -> None:
        told = value("2500", "Energy.Active.Export.Register", "Wh")
        reading = read(make_evse, THREE_PHASES, told, value("100", unit="kWh"))
        assert (reading.register_kwh, reading.export_register_kwh) == (Decimal(100), Decimal("2.5"))

    def test_signed_values_of_begin_and_end_are_both_kept(self, make_evse) -> None:
        """However few they are, and however many plain values have another context."""
        first, last = 'OCMF|{"FV":"1.0","ž":" x "}|{"SA":"a"}', "OCMF|{}|{}"
        reading = read(
            make_evse, THREE_PHASES, power("1000"), value("100", unit="kWh"),
            value(first, format="SignedData", context="Transaction.Begin"),
            value(last, format="SignedData", context="Transaction.End"),
        )  # fmt: skip
        assert reading.signed_value == f"{first}\n{last}"
        assert (reading.register_kwh, reading.power_kw) == (Decimal(100), 1.0)

    def test_signed_value_of_2x_keeps_key_and_methods(self, make_evse) -> None:
        signed = {"signedMeterData": "T0NNRnw=", "signingMethod": "", "encodingMethod": "OCMF", "publicKey": "a2V5"}
        told = read(make_evse, THREE_PHASES, {"value": 1000, "signedMeterValue": signed})
        assert json.loads(told.signed_value) == signed
        assert told.register_kwh == Decimal(1)


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param({}, id="empty"),
        pytest.param({"sampledValue": None}, id="no list"),
        pytest.param({"sampledValue": [1, None, "x", []]}, id="elements that are no objects"),
        pytest.param(
            {"sampledValue": [{"value": "1", "phase": [], "context": {}, "unit": 5, "measurand": []}]}, id="wrong types"
        ),
        pytest.param(
            {"sampledValue": [{"value": "1", "unitOfMeasure": {"multiplier": "many"}}]}, id="multiplier in words"
        ),
        pytest.param(
            {"sampledValue": [{"value": "1", "unitOfMeasure": {"multiplier": 400}}]}, id="multiplier too great"
        ),
        pytest.param({"timestamp": 12, "sampledValue": [{"value": [1]}]}, id="time that is none"),
        pytest.param({"sampledValue": [{"format": "SignedData"}]}, id="signed nothing"),
    ],
)
def test_rubbish_is_read_without_raising(make_evse, entry) -> None:
    reading = read_meter_value(entry, make_evse("S", 1))
    assert reading.power_kw is None
    assert reading.at is None


def test_lone_object_stands_for_a_list(make_evse) -> None:
    told = read_meter_value({"sampledValue": power("1000")}, make_evse("S", 1))
    assert told.power_kw == 1.0
