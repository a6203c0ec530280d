"""The battery's power over real Modbus/TCP: registers, signs, units, and a device that is not there."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace
from typing import Any

import pytest
from modbus_device import Device, device

from connectors.battery.modbus import ModbusBattery, ModbusBatterySettings, NumberType, RegisterValue
from optimizer.errors import BatteryUnreachable, InvalidConfiguration


def settings_for(at: Device, **more: Any) -> ModbusBatterySettings:
    return replace(ModbusBatterySettings("127.0.0.1", 40, at.port, timeout_s=1.0), **more)


WRITES = [
    ("what most inverters take: watts, giving is positive", {}, 5.0, struct.pack(">h", -5000)),
    ("discharging", {}, -2.5, struct.pack(">h", 2500)),
    ("charging is positive", {"charging_is_positive": True}, 5.0, struct.pack(">h", 5000)),
    ("counts of 10 W", {"count_w": 10.0}, -50.0, struct.pack(">h", 5000)),
    ("32 bits", {"number_type": NumberType.INT32}, -120.0, struct.pack(">i", 120000)),
    ("floating point", {"number_type": NumberType.FLOAT32, "count_w": 1000.0}, -7.5, struct.pack(">f", 7.5)),
    ("more than the register holds", {}, -99.0, struct.pack(">h", 32767)),
    ("nothing", {}, 0.0, struct.pack(">h", 0)),
]


@pytest.mark.parametrize(("case", "more", "power_kw", "written"), WRITES, ids=[case[0] for case in WRITES])
async def test_the_register_holds_the_power(case: str, more: dict[str, Any], power_kw: float, written: bytes) -> None:
    async with device() as at:
        battery = ModbusBattery(settings_for(at, **more))
        await battery.set_power(1.0)
        await battery.set_power(power_kw)
        battery.close()
        words = at.words(40, len(written) // 2)
        assert b"".join(struct.pack(">H", word) for word in words) == written, case


async def test_what_must_stand_elsewhere_is_written_too() -> None:
    async with device() as at:
        first = (RegisterValue(10, 802, NumberType.UINT32), RegisterValue(20, 1))
        battery = ModbusBattery(settings_for(at, first=first))
        await battery.set_power(-1.0)
        battery.close()
        assert (at.words(10, 2), at.words(20, 1), at.words(40, 1)) == ([0, 802], [1], [1000])


async def test_a_register_that_is_not_there_is_told() -> None:
    async with device() as at:
        battery = ModbusBattery(settings_for(at, register=400))
        with pytest.raises(BatteryUnreachable, match="refuses register 400"):
            await battery.set_power(1.0)
        battery.close()


async def test_a_device_that_goes_away_and_comes_back() -> None:
    async with device() as at:
        settings = settings_for(at, unit=7)
        battery = ModbusBattery(settings)
    with pytest.raises(BatteryUnreachable, match=str(settings.port)):
        await battery.set_power(2.0)
    async with device(settings.port) as at:
        await battery.set_power(-2.0)
        assert (at.words(40, 1), at.units) == ([2000], {7})
        battery.close()


async def test_a_device_that_never_answers_is_given_up() -> None:
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(silence, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    battery = ModbusBattery(ModbusBatterySettings("127.0.0.1", 40, port, timeout_s=0.05))
    with pytest.raises(BatteryUnreachable):
        await battery.set_power(1.0)
    battery.close()
    server.close()
    await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"number_type": NumberType.UINT16}, id="no sign"),
        pytest.param({"count_w": 0.0}, id="counts of nothing"),
        pytest.param({"register": 70000}, id="no such register"),
        pytest.param({"first": (RegisterValue(-1, 0),)}, id="no such register before it"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfiguration):
        replace(ModbusBatterySettings("host", 1), **change)
