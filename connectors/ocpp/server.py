"""The OCPP central system: stations connect to it, and limits go out through it.

GET /ocpp/{station_id} ──> gate (password, certificate) ──> websocket ──> Conversation
                                                                            │ answers: Answers16 | Answers201
set_limit, set_safe_default, clear_limit ──> profile ──> StationConnection ─┘
"""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

import structlog
from aiohttp import WSCloseCode, web

from connectors.clock import SystemClock
from connectors.ocpp.capability import CapabilityStore, MemoryCapabilities, StationIdentity
from connectors.ocpp.contact import StationContact
from connectors.ocpp.conversation import Conversation
from connectors.ocpp.dialect import Answers, Calls
from connectors.ocpp.health import StationHealth
from connectors.ocpp.intake import SampleLookup, StationIntake, TransactionLookup
from connectors.ocpp.limits import OFFLINE, LimitLayers, Place
from connectors.ocpp.link import StationLink
from connectors.ocpp.outbound import limit_reply
from connectors.ocpp.reports import StationReports
from connectors.ocpp.security import StationGate, certificate_end
from connectors.ocpp.security_desk import SecurityDesk
from connectors.ocpp.settings import OcppSettings, Version
from connectors.ocpp.skew import SkewMeter
from connectors.ocpp.station import StationRecord
from connectors.ocpp.transport import StationConnection, StationSocket
from connectors.ocpp.v16 import Answers16
from connectors.ocpp.v16_calls import Calls16
from connectors.ocpp.v21 import Answers21
from connectors.ocpp.v21_calls import Calls21
from connectors.ocpp.v201 import Answers201
from connectors.ocpp.v201_calls import Calls201
from optimizer.domain.charger import ExternalLimit, LimitCommand, StationBooted
from optimizer.domain.ids import EvseId, StationId, TransactionId
from optimizer.domain.site import Station
from optimizer.errors import InvalidConfiguration, NotFound
from optimizer.ports import Clock, LimitReply, StationEvents

WIRE_DELAY_S = 0.25
"""Delay on the way that is no skew, in seconds of the wall; a fast clock makes more of it [s]."""


class OcppCentralSystem:
    """Serves stations over OCPP and sends them limits (implements `optimizer.ports.ChargerGateway`).

    Args:
        stations: The stations that may connect; all others are refused.
        events: Takes what they tell; they are answered when it has returned.
        clock: Our time.
        settings: Waiting times, bounds, versions.
        gate: Checks who connects.
        sessions: Finds transactions that began before the service started.
        capabilities: Keeps what the meter proved of each kind of station; ``None``: while the service runs.
        desk: Keeps security events and signs certificates; ``None``: events go to the log, and none are signed.
        samples: Finds what was metered of transactions that began before the service started.
    """

    def __init__(
        self,
        stations: Iterable[Station],
        events: StationEvents,
        clock: Clock,
        settings: OcppSettings,
        gate: StationGate,
        sessions: TransactionLookup | None = None,
        capabilities: CapabilityStore | None = None,
        desk: SecurityDesk | None = None,
        samples: SampleLookup | None = None,
    ) -> None:
        self._events: Final = events
        self._clock: Final = clock
        self._settings: Final = settings
        self._gate: Final = gate
        # Certificates end by real time, whatever the injected clock shows.
        self._desk: Final = desk or SecurityDesk(SystemClock())
        wall_s = clock.wall_seconds(1.0)
        delay = timedelta(seconds=WIRE_DELAY_S / wall_s if wall_s > 0 else WIRE_DELAY_S)
        threshold = timedelta(seconds=settings.skew_threshold_s) + 2 * delay
        self._records = {
            station.id: StationRecord(
                station,
                SkewMeter(threshold, timedelta(seconds=5) + delay),
                timedelta(seconds=settings.reaction_s) + delay,
            )
            for station in stations
        }
        self._intakes = {
            station_id: StationIntake(record, events, clock, sessions, samples, self._desk)
            for station_id, record in self._records.items()
        }
        self._links: dict[StationId, StationLink] = {}
        self._capabilities: Final = capabilities or MemoryCapabilities()
        self._places = _evse_places(self._records.values())
        self._layers = LimitLayers(self._places, self._links.get, clock, settings, self._capabilities)
        self._contacts = asyncio.Semaphore(settings.contacts_at_once)
        self._connects: dict[StationId, deque[float]] = {}
        self._closing = False
        self._reports = StationReports(self._records, clock)
        self._log = structlog.get_logger(__name__)

    def recall(self, boots: Mapping[StationId, StationBooted]) -> None:
        """Remember what stations said of themselves before the service started; many will not say it again.

        Args:
            boots: As the connector store keeps them.
        """
        for station_id, boot in boots.items():
            record = self._records.get(station_id)
            if record is None:
                continue
            if record.identity is None and (boot.vendor or boot.model):
                record.identity = StationIdentity(boot.vendor, boot.model, boot.firmware)
            record.recall(boot.habits)

    def application(self, gate: StationGate | None = None) -> web.Application:
        """An aiohttp application that serves ``GET /ocpp/{station_id}`` and closes its connections on shutdown.

        Args:
            gate: Checks who connects there; ``None``: the one that the system was made with. One station may come by
                either of several applications; its newest connection counts.
        """
        application = web.Application()

        async def serve(request: web.Request) -> web.StreamResponse:
            return await self.handle(request, gate or self._gate)

        application.router.add_get("/ocpp/{station_id}", serve)
        application.router.add_get("/ocpp/{station_id}/", serve)

        async def close(_application: web.Application) -> None:
            await self.close()

        application.on_shutdown.append(close)
        return application

    async def close(self) -> None:
        """End every connection and wait until what was being handled is handled."""
        self._closing = True
        await self._desk.close()
        links = list(self._links.values())
        await asyncio.gather(
            *(link.connection.end(WSCloseCode.GOING_AWAY, "the central system shuts down") for link in links)
        )
        try:
            async with asyncio.timeout(2 * self._settings.close_timeout_s):
                await asyncio.gather(*(link.ended.wait() for link in links))
        except TimeoutError:
            still = sum(not link.ended.is_set() for link in links)
            self._log.error("messages still being handled at shutdown", connections=still)

    async def handle(self, request: web.Request, gate: StationGate) -> web.StreamResponse:
        """Serve one websocket of a station until it ends."""
        station_id = StationId(request.match_info["station_id"])
        record = self._records.get(station_id)
        if record is None:
            self._log.warning("unknown station refused", station_id=station_id[:48], remote=request.remote)
            self._reports.met_stranger(station_id, request.remote or "", self._clock.now())
            await self._desk.event(station_id, "station.unknown", f"from {request.remote}", kind="")
            raise web.HTTPNotFound(text="unknown station")
        await self._let_in(request, record, gate)
        if self._closing:
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "10"})
        self._limit_reconnects(station_id)
        version = self._version_for(request, station_id)
        pings = self._settings.ping_interval_s if station_id not in self._settings.no_ping_stations else None
        socket = web.WebSocketResponse(
            protocols=(version.value,) if version is not None else (),
            heartbeat=pings,
            timeout=self._settings.close_timeout_s,
            max_msg_size=self._settings.message_limit_bytes,
            compress=False,
        )
        await socket.prepare(request)
        if version is None:
            record.health.violation("no common sub-protocol")
            await socket.close(code=WSCloseCode.PROTOCOL_ERROR, message=b"no common sub-protocol")
            return socket

        def abort() -> None:
            if request.transport is not None:
                request.transport.abort()

        silence_limit_s = self._settings.silence_limit_s if pings is None else None
        ends_at = certificate_end(request)
        await self.converse(station_id, version, socket, abort, silence_limit_s, certificate_ends_at=ends_at)
        return socket

    async def _let_in(self, request: web.Request, record: StationRecord, gate: StationGate) -> None:
        """Return when the gate lets the station in; where it does not, its operator is told why."""
        try:
            await gate.admit(request, record.station.id)
        except web.HTTPException as refusal:
            why = f"from {request.remote}: {refusal.status} {refusal.text or ''}"
            record.health.refused(self._clock.now(), why)
            await self._desk.event(record.station.id, "station.refused", why)
            raise

    def _version_for(self, request: web.Request, station_id: StationId) -> Version | None:
        """The first version that the station offers and we serve; without an offer what the settings assume."""
        header = ",".join(request.headers.getall("Sec-WebSocket-Protocol", ()))
        offered = [name.strip() for name in header.split(",") if name.strip()]
        if not offered:
            return self._settings.assumed_versions.get(station_id)
        return next((version for name in offered for version in self._settings.versions if version == name), None)

    def _limit_reconnects(self, station_id: StationId) -> None:
        """Refuse a station that connects again and again, or two that fight for one id.

        Raises:
            HTTPTooManyRequests: It connected too often within a minute.
        """
        now_s = asyncio.get_running_loop().time()
        connects = self._connects.setdefault(station_id, deque(maxlen=self._settings.connects_per_minute))
        if len(connects) == connects.maxlen and now_s - connects[0] < 60.0:
            raise web.HTTPTooManyRequests(headers={"Retry-After": "60"})
        connects.append(now_s)

    async def converse(
        self,
        station_id: StationId,
        version: Version,
        socket: StationSocket,
        abort: Callable[[], None],
        silence_limit_s: float | None,
        *,
        certificate_ends_at: datetime | None = None,
    ) -> None:
        """Talk with a station that was admitted, over any socket that carries whole texts, until the connection ends.

        Args:
            station_id: Which station.
            version: Version that was agreed.
            socket: The connection.
            abort: Cuts it where the station does not agree to its end.
            silence_limit_s: Time without a frame that ends it; ``None`` where the socket itself watches over that [s].
            certificate_ends_at: When the station's certificate ends [UTC]; ``None``: it showed none.

        Raises:
            NotFound: There is no such station.
        """
        record, settings = self._record(station_id), self._settings
        intake = self._intakes[station_id]
        answers, calls = self._dialect(version, intake)
        conversation = Conversation(answers, version, intake, settings, self._contacts)
        connection = StationConnection(socket, abort, version, conversation, record.health, settings, station_id)
        link, older = StationLink(connection, calls), self._links.get(station_id)
        contact = StationContact(record, link, self._layers, self._capabilities, settings, self._desk)
        self._links[station_id] = link
        record.health.connected(self._clock.now(), version.number)
        try:
            if older is not None:
                await older.connection.end(WSCloseCode.POLICY_VIOLATION, "a newer connection took its place")
            connection.start(conversation.accompany(connection, contact))
            if certificate_ends_at is not None:
                connection.start(self._desk.watch(record, link, certificate_ends_at))
            await connection.serve(silence_limit_s)
        finally:
            try:
                await self._say_goodbye(record, link)
            finally:
                link.ended.set()

    async def _say_goodbye(self, record: StationRecord, link: StationLink) -> None:
        """Tell that a station is gone, unless a newer connection has taken the place of the one that ended."""
        station_id = record.station.id
        if self._links.get(station_id) is link:
            del self._links[station_id]
            record.health.disconnected(self._clock.now())
            await self._events.station_disconnected(station_id, self._clock.now())

    def _dialect(self, version: Version, intake: StationIntake) -> tuple[Answers, Calls]:
        spread = self._settings.heartbeat_spread_share * self._settings.heartbeat_interval_s
        # The same station always gets the same interval; different ones drift apart.
        share = zlib.crc32(intake.record.station.id.encode()) / 2**32
        interval_s = max(1, round(self._settings.heartbeat_interval_s + spread * (2 * share - 1)))
        if version is Version.V16:
            return Answers16(intake, interval_s), Calls16()
        if version is Version.V201:
            return Answers201(intake, interval_s, version), Calls201()
        settings = self._settings
        calls = Calls21(settings.plan_lasts_offline_s, phase_limits=settings.phase_limits)
        return Answers21(intake, interval_s, calls, v2x=settings.v2x), calls

    def health(self, station_id: StationId) -> StationHealth:
        """Counters and notices of one station.

        Raises:
            NotFound: There is no such station.
        """
        return self._record(station_id).health

    @property
    def reports(self) -> StationReports:
        """How the stations fare, for their operators."""
        return self._reports

    def limits_of_others(self) -> Mapping[EvseId, tuple[ExternalLimit, ...]]:
        """Limits that others set at EVSEs or at their stations (OCPP 2.x NotifyChargingLimit, ReportChargingProfiles).

        EVSEs without any are missing.
        """
        limited = [record for record in self._records.values() if record.external_limits.is_any]
        found = {
            evse.id: record.external_limits.at(number) for record in limited for number, evse in record.evses.items()
        }
        return {evse_id: limits for evse_id, limits in found.items() if limits}

    def switches_phases(self, evse_id: EvseId) -> bool:
        """Whether a station may be told to change an EVSE's number of phases.

        In 2.x it says so itself, and what was not asked yet is taken for yes, since the meter must show it anyway; of
        1.6 only a station that says it can is told.

        Raises:
            NotFound: There is no such EVSE.
        """
        place = self._places.get(evse_id)
        if place is None:
            raise NotFound("EVSE", evse_id)
        record = place[0]
        link = self._links.get(record.station.id)
        told = record.capability.switches_phases
        return link is not None and (told is True or (told is None and link.calls.version is not Version.V16))

    def _record(self, station_id: StationId) -> StationRecord:
        record = self._records.get(station_id)
        if record is None:
            raise NotFound("station", station_id)
        return record

    def is_online(self, station_id: StationId) -> bool:
        """Whether the station is connected now."""
        return station_id in self._links

    async def set_limit(self, command: LimitCommand) -> LimitReply:
        """Replace the limit of one EVSE by ``command``, as one charging profile.

        Raises:
            NotFound: There is no such EVSE.
        """
        return await self._layers.set_limit(command)

    async def set_safe_default(self, station_id: StationId, evse_id: EvseId, limit_kw: float) -> LimitReply:
        """Install the limit that holds whenever no newer one does; one that is known to be there is not written again.

        Raises:
            NotFound: The station has no such EVSE.
        """
        return await self._layers.set_safe_default(station_id, evse_id, limit_kw)

    async def set_station_maximum(
        self, station_id: StationId, limit_kw: float, phase_limits_a: tuple[float, float, float] | None = None
    ) -> LimitReply:
        """Bound a whole station, below which its EVSEs share (ChargePointMaxProfile, ChargingStationMaxProfile).

        Args:
            station_id: Which station.
            limit_kw: Greatest power [kW].
            phase_limits_a: Greatest current on L1, L2 and L3, where they differ [A].

        Raises:
            NotFound: There is no such station.
        """
        return await self._layers.set_station_maximum(self._record(station_id), limit_kw, phase_limits_a)

    async def stop_charging(self, station_id: StationId, transaction_id: TransactionId) -> LimitReply:
        """End a transaction (RemoteStopTransaction, RequestStopTransaction).

        Raises:
            NotFound: There is no such station.
        """
        link = self.link(station_id)
        if link is None:
            return OFFLINE
        return limit_reply(await link.ask(link.calls.stop(transaction_id)))

    async def clear_limit(self, station_id: StationId, evse_id: EvseId) -> LimitReply:
        """Remove what ``set_limit`` installed, so that the safe default holds.

        Raises:
            NotFound: The station has no such EVSE.
        """
        return await self._layers.clear_limit(station_id, evse_id)

    def link(self, station_id: StationId) -> StationLink | None:
        """The present connection of a station, to ask it anything; ``None`` while it is offline.

        Raises:
            NotFound: There is no such station.
        """
        return self._links.get(self._record(station_id).station.id)


def _evse_places(records: Iterable[StationRecord]) -> dict[EvseId, Place]:
    places: dict[EvseId, Place] = {}
    for record in records:
        if not record.evses:
            raise InvalidConfiguration(f"stations.{record.station.id}.evses", (), "name at least one EVSE")
        if len(record.evses) != len(record.station.evses):
            numbers = [evse.ocpp_evse_id for evse in record.station.evses]
            raise InvalidConfiguration(
                f"stations.{record.station.id}.ocpp_evse_id", numbers, "give each its own number"
            )
        for evse in record.evses.values():
            if evse.id in places:
                raise InvalidConfiguration("evses.id", evse.id, "give every EVSE of all sites its own id")
            places[evse.id] = (record, evse)
    return places
