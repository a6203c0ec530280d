"""One connection's talk: the station's calls answered, and the moment found from which it may be spoken to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from connectors.ocpp.contact import StationContact
from connectors.ocpp.dialect import Answers
from connectors.ocpp.frames import CallFrame, Json
from connectors.ocpp.intake import StationIntake
from connectors.ocpp.settings import OcppSettings, Version
from connectors.ocpp.transport import StationConnection

BOOT = "BootNotification"


class Conversation:
    """Serves the calls of one connection and decides when the station may be spoken to.

    Args:
        answers: Answers in the version agreed.
        version: Which that is.
        intake: Takes what the station tells.
        settings: Waiting times.
        contacts: Bounds how many stations are contacted at once.
    """

    def __init__(
        self,
        answers: Answers,
        version: Version,
        intake: StationIntake,
        settings: OcppSettings,
        contacts: asyncio.Semaphore,
    ) -> None:
        self._answers = answers
        self._version = version
        self._intake = intake
        self._settings = settings
        self._contacts = contacts
        self._announced = False
        self._boots: asyncio.Queue[None] = asyncio.Queue()
        self._follow_up: Callable[[], None] | None = None

    async def answer(self, frame: CallFrame) -> Json:
        """Serve one call; a station that does not boot first is back from before."""
        self._intake.record.health.last_frame_at = self._intake.now
        if frame.action == BOOT:
            self._intake.record.forget_profiles()
            answer = await self._answers.answer(frame.action, frame.payload)
            self._announced = True
            return answer
        await self._announce()
        return await self._answers.answer(frame.action, frame.payload)

    def answered(self, frame: CallFrame) -> None:
        """A boot that has its answer lets calls go out; what a message left open is asked about."""
        if frame.action == BOOT:
            self._boots.put_nowait(None)
        elif (self._intake.record.gaps or self._intake.record.signing) and self._follow_up is not None:
            self._follow_up()

    async def _announce(self) -> None:
        if not self._announced:
            await self._intake.announce(self._version.number, None)
            self._announced = True

    async def accompany(self, connection: StationConnection, contact: StationContact) -> None:
        """Wait for the boot, or long enough to know that none comes; then let calls go out, and make contact.

        Every later boot on the same connection is followed by contact anew. Runs until the connection ends.
        """
        booted = True

        def follow_up() -> None:
            connection.start(contact.follow_up())

        self._follow_up = follow_up
        try:
            async with asyncio.timeout(self._settings.settle_s):
                await self._boots.get()
            await asyncio.sleep(self._settings.after_boot_s)
        except TimeoutError:
            booted = False
        connection.ready.set()
        await self._announce()
        while self._settings.contact_stations:
            async with self._contacts:
                await contact.make(booted=booted)
            await self._boots.get()
            booted = True
            while not self._boots.empty():
                # Of a station that boots again and again the last boot counts.
                self._boots.get_nowait()
