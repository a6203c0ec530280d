"""A device on Modbus/TCP, written from the specification and not with the library under test."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

WRITE_REGISTERS, ILLEGAL_ADDRESS = 16, 2


class Device:
    """A device with a hundred registers, by the words of the Modbus/TCP specification."""

    def __init__(self) -> None:
        self._registers = [0] * 100
        self.units: set[int] = set()
        self.writers: list[asyncio.StreamWriter] = []
        self.port = 0

    def words(self, register: int, count: int) -> list[int]:
        return self._registers[register : register + count]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                number, _, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
                answer = self._answer(await reader.readexactly(length - 1))
                self.units.add(unit)
                writer.write(struct.pack(">HHHB", number, 0, len(answer) + 1, unit) + answer)
                await writer.drain()
        writer.close()

    def _answer(self, request: bytes) -> bytes:
        function, register, count, _ = struct.unpack(">BHHB", request[:6])
        if function != WRITE_REGISTERS or register + count > len(self._registers):
            return bytes((function | 0x80, ILLEGAL_ADDRESS))
        self._registers[register : register + count] = struct.unpack(f">{count}H", request[6:])
        return request[:5]


@asynccontextmanager
async def device(port: int = 0) -> AsyncIterator[Device]:
    made = Device()
    server = await asyncio.start_server(made.serve, "127.0.0.1", port)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for writer in made.writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        await asyncio.sleep(0.01)
