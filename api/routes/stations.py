"""Stations: how they fare, what an operator should look at, and what an operator may ask of them."""

from __future__ import annotations

from dataclasses import asdict, replace

from api.alert_watch import alerts_at
from api.auth import Scope
from api.operations import Call, Handler, Operation, Reply
from api.service import Service
from api.site_views import ConnectorView
from api.station_alerts import Severity
from api.station_views import (
    AlertListView,
    AlertView,
    AvailabilityRequest,
    CertificateFilter,
    CertificateListView,
    CertificateNameRequest,
    CertificateNameView,
    CertificateRequest,
    EvseRequest,
    FirmwareRequest,
    LocalListRequest,
    ResetRequest,
    ScheduleFilter,
    SettingFilter,
    SettingRequest,
    SettingsView,
    StartRequest,
    StationAnswerView,
    StationFilter,
    StationHealthView,
    StationListView,
    StationSummaryView,
    StopRequest,
    StrangerView,
    TriggerRequest,
    UploadRequest,
)
from api.views import cursor_of, cursor_value, next_page
from optimizer.domain.charger import Connector
from optimizer.domain.ids import StationId, TokenId, TransactionId
from optimizer.domain.operation import CertificateName, StationReply
from optimizer.domain.session import Session
from optimizer.domain.site import Evse, Station
from optimizer.errors import Conflict, InvalidRequest, NotFound


async def stations(call: Call, query: StationFilter) -> Reply[StationListView]:
    """List stations with their state and alerts, a page at a time, and who tried to connect without being one."""
    at_site, after = call.service.site.stations, cursor_value(query.cursor)
    known = [station.id for station in at_site]
    if after is not None and after not in known:
        raise InvalidRequest("cursor", query.cursor, "give the next_cursor of an answer as it stands")
    begin = known.index(StationId(after)) + 1 if after is not None else 0
    page = at_site[begin : begin + query.limit]
    alerts = await alerts_at(call.service, page)
    views = [
        StationSummaryView.of(
            station,
            call.service.reporter.report(station.id),
            [alert for alert in alerts if alert.station_id == station.id],
        )
        for station in page
    ]
    is_last = begin + query.limit >= len(at_site)
    next_cursor = None if is_last else cursor_of(page[-1].id)
    strangers = [StrangerView.of(one) for one in call.service.reporter.strangers()]
    return Reply(
        StationListView(stations=views, next_cursor=next_cursor, strangers=strangers),
        next_page("/v1/stations", query, next_cursor),
    )


async def station(call: Call) -> Reply[StationHealthView]:
    """Show how one station fares: connection, uptime, errors, violations, notices, EVSEs, alerts."""
    service, one = call.service, _station(call)
    connectors = await _connectors(service, one)
    views = [ConnectorView.of(connector, service.clock.now()) for connector in connectors]
    report = service.reporter.report(one.id)
    return Reply(StationHealthView.whole(one, report, await alerts_at(service, [one]), views))


async def alerts(call: Call) -> Reply[AlertListView]:
    """List what an operator should look at, each with its reason, the urgent first."""
    found = await alerts_at(call.service, call.service.site.stations)
    urgency = list(Severity)
    found.sort(key=lambda alert: urgency.index(alert.severity))
    return Reply(AlertListView(alerts=[AlertView.of(alert) for alert in found]))


async def start(call: Call, body: StartRequest) -> Reply[StationAnswerView]:
    """Start a transaction for a token; an EVSE that charges, or is kept for somebody else, is refused."""
    evse, token_id = _evse(call, body.evse_id), TokenId(body.token_id)
    session = await _session_at(call.service, evse)
    if session is not None and session.transaction_id is not None:
        raise Conflict(f"EVSE {evse.id!r} charges already, in session {session.id!r}")
    if not await call.service.control.may_start(evse.id, token_id):
        raise Conflict(f"EVSE {evse.id!r} is kept for another token")
    return _answer(call, await call.service.operator.start(evse.station_id, evse.ocpp_evse_id, token_id))


async def stop(call: Call, body: StopRequest) -> Reply[StationAnswerView]:
    """Stop a transaction: the one named, or the one that runs at the EVSE."""
    transaction_id = body.transaction_id
    if transaction_id is None:
        evse = _evse(call, body.evse_id)
        session = await _session_at(call.service, evse)
        if session is None or session.transaction_id is None:
            raise Conflict(f"no transaction runs at EVSE {evse.id!r}")
        transaction_id = session.transaction_id
    return _answer(call, await call.service.operator.stop(_station(call).id, TransactionId(transaction_id)))


async def reset(call: Call, body: ResetRequest) -> Reply[StationAnswerView]:
    """Restart the station: when nothing charges, or at once."""
    return _answer(call, await call.service.operator.reset(_station(call).id, hard=body.hard))


async def unlock(call: Call, body: EvseRequest) -> Reply[StationAnswerView]:
    """Unlock the plug of an EVSE."""
    evse = _evse(call, body.evse_id)
    return _answer(call, await call.service.operator.unlock(evse.station_id, evse.ocpp_evse_id))


async def set_availability(call: Call, body: AvailabilityRequest) -> Reply[StationAnswerView]:
    """Put an EVSE or the whole station in or out of service."""
    number = 0 if body.evse_id is None else _evse(call, body.evse_id).ocpp_evse_id
    operator = call.service.operator
    return _answer(call, await operator.set_availability(_station(call).id, number, operative=body.operative))


async def trigger(call: Call, body: TriggerRequest) -> Reply[StationAnswerView]:
    """Have the station tell something now: its state, its meter, how far a log or an update is."""
    number = None if body.evse_id is None else _evse(call, body.evse_id).ocpp_evse_id
    return _answer(call, await call.service.operator.trigger(_station(call).id, body.message, number))


async def upload_log(call: Call, body: UploadRequest) -> Reply[StationAnswerView]:
    """Have the station upload its log; how far it is stands among its notices."""
    return _answer(call, await call.service.operator.upload_log(_station(call).id, body.url))


async def update_firmware(call: Call, body: FirmwareRequest) -> Reply[StationAnswerView]:
    """Have the station fetch and install firmware; how far it is stands among its notices."""
    at = body.fetch_at or call.service.clock.now()
    return _answer(call, await call.service.operator.update_firmware(_station(call).id, body.url, at))


async def send_local_list(call: Call, body: LocalListRequest) -> Reply[StationAnswerView]:
    """Replace the list of tokens that may charge while the station is offline."""
    version = body.version or int(call.service.clock.now().timestamp())
    token_ids = [TokenId(token) for token in body.token_ids]
    return _answer(call, await call.service.operator.send_local_list(_station(call).id, version, token_ids))


async def clear_cache(call: Call) -> Reply[StationAnswerView]:
    """Have the station forget the tokens that it has learnt."""
    return _answer(call, await call.service.operator.clear_cache(_station(call).id))


async def read_settings(call: Call, query: SettingFilter) -> Reply[SettingsView]:
    """Read settings of the station by its own names; all at once is not asked, for some stations break on it."""
    names = [name.strip() for name in query.names.split(",") if name.strip()]
    if not names:
        raise InvalidRequest("names", query.names, "name at least one setting, with commas between")
    station_id = _station(call).id
    settings = await call.service.operator.read_settings(station_id, names)
    unknown = [name for name in names if name not in settings]
    return Reply(SettingsView(station_id=station_id, settings=settings, unknown=unknown))


async def write_setting(call: Call, body: SettingRequest) -> Reply[StationAnswerView]:
    """Change one setting of the station by its own name."""
    return _answer(call, await call.service.operator.write_setting(_station(call).id, body.name, body.value))


async def composite_schedule(call: Call, query: ScheduleFilter) -> Reply[StationAnswerView]:
    """Ask the station which limits it believes to hold; for diagnosis, since stations answer this in many odd ways."""
    evse = _evse(call, query.evse_id)
    operator = call.service.operator
    return _answer(call, await operator.composite_schedule(evse.station_id, evse.ocpp_evse_id, query.duration_s))


async def install_certificate(call: Call, body: CertificateRequest) -> Reply[StationAnswerView]:
    """Have the station trust an authority; one that takes another's place is installed before that one goes."""
    operator = call.service.operator
    return _answer(call, await operator.install_certificate(_station(call).id, body.kind, body.certificate_pem))


async def installed_certificates(call: Call, query: CertificateFilter) -> Reply[CertificateListView]:
    """List the authorities that the station trusts."""
    station_id = _station(call).id
    found = await call.service.operator.installed_certificates(station_id, query.kind)
    views = [CertificateNameView(**asdict(name)) for name in found]
    return Reply(CertificateListView(station_id=station_id, certificates=views))


async def delete_certificate(call: Call, body: CertificateNameRequest) -> Reply[StationAnswerView]:
    """Have the station trust an authority no more."""
    name = CertificateName(**body.model_dump())
    return _answer(call, await call.service.operator.delete_certificate(_station(call).id, name))


async def renew_certificate(call: Call) -> Reply[StationAnswerView]:
    """Have the station make a new key and ask for its certificate; the authority of the configuration signs it."""
    return _answer(call, await call.service.operator.renew_certificate(_station(call).id))


async def rotate_password(call: Call) -> Reply[StationAnswerView]:
    """Give the station a new password over its connection; the old one is good until it has come in with the new one.

    Nobody sees the new password: the station holds it, and the service its hash.
    """
    return _answer(call, await call.service.operator.rotate_password(_station(call).id))


def _answer(call: Call, reply: StationReply) -> Reply[StationAnswerView]:
    return Reply(StationAnswerView.of(call.path["station_id"], reply))


def _station(call: Call) -> Station:
    wanted = call.path["station_id"]
    found = next((one for one in call.service.site.stations if one.id == wanted), None)
    if found is None:
        raise NotFound("station", wanted)
    return found


def _evse(call: Call, evse_id: str | None) -> Evse:
    """The EVSE of the station that is meant; where none is named and it has one, that one."""
    at_station = _station(call).evses
    names = ", ".join(evse.id for evse in at_station)
    if evse_id is None:
        if len(at_station) != 1:
            raise InvalidRequest("evse_id", None, f"name one of {names}")
        return at_station[0]
    found = next((evse for evse in at_station if evse.id == evse_id), None)
    if found is None:
        raise InvalidRequest("evse_id", evse_id, f"this station has {names}")
    return found


async def _session_at(service: Service, evse: Evse) -> Session | None:
    active = await service.stores.sessions.sessions(service.site.id, active_only=True)
    return next((session for session in active if session.evse_id == evse.id), None)


async def _connectors(service: Service, one: Station) -> list[Connector]:
    online = service.gateway.is_online(one.id)
    found = [await service.stores.connectors.connector(service.site.id, evse.id) for evse in one.evses]
    return [replace(connector, online=online) for connector in found]


_ONE = "/v1/stations/{station_id}"


def _order(
    name: str, handler: Handler, *, method: str = "POST", scope: Scope = Scope.OPERATE, conflicts: bool = False
) -> Operation:
    return Operation(method, f"{_ONE}/{name}", handler, scope, conflicts=conflicts, asks_station=True)


OPERATIONS = (
    Operation("GET", "/v1/stations", stations, Scope.READ),
    Operation("GET", "/v1/station-alerts", alerts, Scope.READ),
    Operation("GET", _ONE, station, Scope.READ),
    _order("start", start, conflicts=True),
    _order("stop", stop, conflicts=True),
    _order("reset", reset),
    _order("unlock", unlock),
    _order("availability", set_availability),
    _order("trigger", trigger),
    _order("log", upload_log),
    _order("firmware", update_firmware, scope=Scope.ADMIN),
    _order("local-list", send_local_list),
    _order("clear-cache", clear_cache),
    _order("configuration", read_settings, method="GET"),
    _order("configuration", write_setting, scope=Scope.ADMIN),
    _order("composite-schedule", composite_schedule, method="GET"),
    _order("certificates", installed_certificates, method="GET"),
    _order("certificates", install_certificate, scope=Scope.ADMIN),
    _order("delete-certificate", delete_certificate, scope=Scope.ADMIN),
    _order("renew-certificate", renew_certificate, scope=Scope.ADMIN),
    _order("rotate-password", rotate_password, scope=Scope.ADMIN),
)
