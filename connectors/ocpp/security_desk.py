"""What is to be known of security: events for the audit log, certificates asked for, signed and about to end.

station ─ SignCertificate ──> take_request ──> Accepted; then hand_out ─ CertificateSigned ──> station
station ─ SecurityEventNotification ──> event ──> audit log
certificate of the connection ──> watch: near its end the station is asked to have a new one signed
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from connectors.ocpp.authority import StationAuthority, read_request
from connectors.ocpp.call_queue import Answered
from connectors.ocpp.link import StationLink
from connectors.ocpp.outbound import limit_reply
from connectors.ocpp.station import SigningRequest, StationRecord
from optimizer.domain.ids import StationId
from optimizer.errors import InvalidInput
from optimizer.ports import Clock

STATION_CERTIFICATE: Final = "ChargingStationCertificate"
"""The one kind of certificate that is signed here; those of ISO 15118 need an authority of their own."""

LOOK_AGAIN = timedelta(days=1)
"""Time until a station that has not renewed its certificate is asked again."""

ENTRIES_APART_S = 60.0
"""Least time between two audit entries of one kind on one subject; what comes in between is counted in the next [s]."""

KEPT_KINDS = 1000
"""Kinds of entries that are counted at a time, the newest."""


class SecurityJournal(Protocol):
    """Keeps what happened, for ever; the audit log does."""

    async def note(self, actor: str, action: str, subject: str, detail: str) -> None:
        """Keep that ``actor`` did ``action`` to ``subject``; durable when this returns."""
        ...


@dataclass(eq=False, slots=True)
class _Counted:
    noted_at_s: float
    left_out: int = 0


class SecurityDesk:
    """Serves the security of all stations of a central system.

    Args:
        clock: Real time, by which certificates end.
        journal: Keeps events; ``None``: they are kept in the log and in the stations' notices only.
        authority: Signs stations' certificates; ``None``: none are signed.
        renew_before: How long before its end a certificate is to be renewed.
    """

    def __init__(
        self,
        clock: Clock,
        journal: SecurityJournal | None = None,
        authority: StationAuthority | None = None,
        renew_before: timedelta = timedelta(days=30),
    ) -> None:
        self._clock: Final = clock
        self._journal: Final = journal
        self._authority: Final = authority
        self._renew_before: Final = renew_before
        self._tasks: set[asyncio.Task[None]] = set()
        self._counted: OrderedDict[tuple[str, str], _Counted] = OrderedDict()
        self._log = structlog.get_logger(__name__)

    async def event(self, station_id: StationId, action: str, detail: str, *, kind: str | None = None) -> None:
        """Keep a security event; a flood of one kind is kept once a minute, with its count.

        Args:
            station_id: Whom it concerns, as told; it need not be a station of the site.
            action: What happened, for example station.refused.
            detail: What a reader must know; no secrets.
            kind: What is counted together; by default the action and the station.
        """
        key = (action, station_id if kind is None else kind)
        now_s = asyncio.get_running_loop().time()
        counted = self._counted.get(key)
        if counted is not None and now_s - counted.noted_at_s < ENTRIES_APART_S:
            counted.left_out += 1
            return
        left_out = (
            f" ({counted.left_out} more since the last entry)" if counted is not None and counted.left_out else ""
        )
        self._counted[key] = _Counted(now_s)
        self._counted.move_to_end(key)
        if len(self._counted) > KEPT_KINDS:
            self._counted.popitem(last=False)
        self._log.warning("security event", station_id=station_id[:48], action=action, detail=detail[:200])
        if self._journal is not None:
            await self._journal.note("ocpp", action, station_id[:48], f"{detail[:400]}{left_out}")

    async def take_request(self, record: StationRecord, request: SigningRequest, kind: str) -> bool:
        """Whether a certificate will be signed as asked; it is handed out when the station has its answer."""
        station_id = record.station.id
        if self._authority is None or kind != STATION_CERTIFICATE:
            await self.event(station_id, "certificate.refused", f"no authority signs a {kind} here")
            return False
        try:
            read_request(request.pem, station_id)
        except InvalidInput as refusal:
            await self.event(station_id, "certificate.refused", str(refusal))
            return False
        record.signing.append(request)
        return True

    def hand_out(self, record: StationRecord, link: StationLink) -> None:
        """Sign what the station asked for, and send it; it may then hang up, to come back with its new certificate."""
        requests, record.signing = record.signing, []
        if requests:
            task = asyncio.create_task(self._hand_out(record, link, requests[-1]))
            self._tasks.add(task)
            task.add_done_callback(self._finished)

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("a certificate was not handed out", exc_info=error)

    async def _hand_out(self, record: StationRecord, link: StationLink, newest: SigningRequest) -> None:
        if self._authority is None:
            return
        station_id = record.station.id
        chain = await asyncio.to_thread(self._authority.sign, newest.pem, station_id)
        outcome = await link.ask(link.calls.certificate_signed(chain, newest.number))
        taken = isinstance(outcome, Answered) and outcome.payload.get("status") == "Accepted"
        reply = limit_reply(outcome)
        action = "certificate.signed" if taken else "certificate.not_taken"
        record.health.notice("certificate", self._clock.now(), "renewed" if taken else f"not taken: {reply.detail}")
        await self.event(station_id, action, reply.detail)

    async def watch(self, record: StationRecord, link: StationLink, ends_at: datetime) -> None:
        """Have a certificate renewed before it ends, and say so as long as it is not. Runs until it is cancelled."""
        while True:
            left = ends_at - self._clock.now()
            if left > self._renew_before:
                await self._clock.sleep(min(left - self._renew_before, LOOK_AGAIN).total_seconds())
                continue
            text = f"ends at {ends_at:%Y-%m-%d %H:%M} UTC"
            record.health.notice("CertificateExpiry", self._clock.now(), text)
            await self.event(record.station.id, "certificate.expires", text)
            if self._authority is not None:
                await link.ask(link.calls.request_signing())
            await self._clock.sleep(LOOK_AGAIN.total_seconds())
