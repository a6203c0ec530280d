"""A stationary battery whose power is written to a register over Modbus/TCP, as inverters and their gateways take it.

What every maker names in its list of registers: where the power stands, as which type of number, in which unit and with
which sign; and often a register or two that must hold a certain value for the power to count. All of them are written
each time, since many devices fall back to their own control when nothing is written for a minute.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from optimizer.errors import BatteryUnreachable, InvalidConfiguration


class NumberType(StrEnum):
    """How a number lies in registers of 16 bits, the most significant first."""

    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"
    UINT32 = "uint32"
    FLOAT32 = "float32"


_TYPES: Final = {
    NumberType.INT16: AsyncModbusTcpClient.DATATYPE.INT16,
    NumberType.UINT16: AsyncModbusTcpClient.DATATYPE.UINT16,
    NumberType.INT32: AsyncModbusTcpClient.DATATYPE.INT32,
    NumberType.UINT32: AsyncModbusTcpClient.DATATYPE.UINT32,
    NumberType.FLOAT32: AsyncModbusTcpClient.DATATYPE.FLOAT32,
}
_BITS: Final = {NumberType.INT16: 15, NumberType.UINT16: 16, NumberType.INT32: 31, NumberType.UINT32: 32}
_SIGNED: Final = (NumberType.INT16, NumberType.INT32, NumberType.FLOAT32)


@dataclass(frozen=True, slots=True)
class RegisterValue:
    """A value that a register must hold for the power to count."""

    register: int
    """Its address, from 0."""
    value: int
    """What it must hold."""
    number_type: NumberType = NumberType.UINT16
    """As which type of number."""


@dataclass(frozen=True, slots=True)
class ModbusBatterySettings:
    """How the power of one battery is written.

    Raises:
        InvalidConfiguration: The type of number cannot hold a power of either sign, or a figure is out of its range.
    """

    host: str
    """Name or address of the device."""
    register: int
    """Address of the power, from 0."""
    port: int = 502
    """Its port."""
    unit: int = 1
    """Its unit identifier."""
    number_type: NumberType = NumberType.INT16
    """As which type of number the power is written."""
    count_w: float = 1.0
    """Power of one count of the register [W]."""
    charging_is_positive: bool = False
    """Whether a power above zero charges; most inverters count what they give as positive."""
    first: tuple[RegisterValue, ...] = ()
    """What is written before it, each time."""
    timeout_s: float = 3.0
    """Time the device has to answer [s of the wall]."""

    def __post_init__(self) -> None:
        if self.number_type not in _SIGNED:
            fix = f"give one of {', '.join(_SIGNED)}: a battery charges and discharges"
            raise InvalidConfiguration("battery_control.number_type", self.number_type, fix)
        for name in ("count_w", "timeout_s"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise InvalidConfiguration(f"battery_control.{name}", getattr(self, name), "give a number above 0")
        for register in (self.register, *(one.register for one in self.first)):
            if not 0 <= register <= 65535:
                raise InvalidConfiguration(
                    "battery_control.register_address", register, "give an address from 0 to 65535"
                )


class ModbusBattery:
    """Writes the power of one battery (port `BatteryGateway`).

    Args:
        settings: Where and how.
    """

    def __init__(self, settings: ModbusBatterySettings) -> None:
        self._settings = settings
        self._client = AsyncModbusTcpClient(
            settings.host, port=settings.port, timeout=settings.timeout_s, retries=0, reconnect_delay=0
        )

    async def set_power(self, power_kw: float) -> None:
        """Have the battery charge with this power, discharge with a negative one.

        Raises:
            BatteryUnreachable: The device cannot be reached, or refuses.
        """
        place = f"{self._settings.host}:{self._settings.port}"
        try:
            async with asyncio.timeout(3.0 * self._settings.timeout_s):
                if not self._client.connected and not await self._client.connect():
                    raise BatteryUnreachable(f"no connection to the battery at {place}")
                for held in self._settings.first:
                    await self._write(held.register, held.value, held.number_type)
                await self._write(self._settings.register, self._counts(power_kw), self._settings.number_type)
        except (ModbusException, OSError, TimeoutError) as error:
            self._client.close()
            raise BatteryUnreachable(f"the battery at {place} takes no power: {error or 'no answer'}") from error

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def _counts(self, power_kw: float) -> float:
        """The power as the register counts it, within what its type can hold."""
        signed_kw = power_kw if self._settings.charging_is_positive else -power_kw
        counts = signed_kw * 1000.0 / self._settings.count_w
        if self._settings.number_type is NumberType.FLOAT32:
            return counts
        most = 2 ** _BITS[self._settings.number_type] - 1
        return float(round(max(-most, min(most, counts))))

    async def _write(self, register: int, value: float, number_type: NumberType) -> None:
        whole = value if number_type is NumberType.FLOAT32 else int(value)
        words = self._client.convert_to_registers(whole, _TYPES[number_type])
        reply = await self._client.write_registers(register, words, device_id=self._settings.unit)
        if reply.isError():
            raise BatteryUnreachable(f"the battery refuses register {register}: {reply}")
