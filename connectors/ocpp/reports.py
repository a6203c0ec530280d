"""How stations fare, in the words of the domain, and who tried to connect without being one of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime

from connectors.ocpp.capability import StationIdentity
from connectors.ocpp.station import StationRecord
from optimizer.domain.ids import StationId
from optimizer.domain.operation import StationReport, Stranger
from optimizer.errors import NotFound
from optimizer.ports import Clock

KEPT_STRANGERS = 50
"""Newest names that are remembered of those that the site does not know."""

LONGEST_NAME = 48
"""Characters that are kept of such a name."""


class StationReports:
    """Reports of all stations of a central system.

    Args:
        records: What is remembered of each.
        clock: Our time.
    """

    def __init__(self, records: Mapping[StationId, StationRecord], clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._since = clock.now()
        self._strangers: OrderedDict[str, Stranger] = OrderedDict()

    def report(self, station_id: StationId) -> StationReport:
        """How one station fares.

        Raises:
            NotFound: There is no such station.
        """
        record = self._records.get(station_id)
        if record is None:
            raise NotFound("station", station_id)
        return self._report(record)

    def strangers(self) -> tuple[Stranger, ...]:
        """Who tried to connect under a name that the site does not know, newest first."""
        return tuple(reversed(self._strangers.values()))

    def met_stranger(self, name: str, remote: str, at: datetime) -> None:
        """Remember one who was turned away."""
        name = name[:LONGEST_NAME]
        before = self._strangers.pop(name, None)
        self._strangers[name] = Stranger(name, remote, at, 1 if before is None else before.times + 1)
        if len(self._strangers) > KEPT_STRANGERS:
            self._strangers.popitem(last=False)

    def _report(self, record: StationRecord) -> StationReport:
        health, now = record.health, self._clock.now()
        identity = record.identity or StationIdentity()
        watched_s = (now - self._since).total_seconds()
        return StationReport(
            station_id=record.station.id,
            since=self._since,
            online_since=health.connected_at,
            offline_since=health.disconnected_at,
            last_seen_at=health.last_frame_at,
            uptime_share=min(1.0, health.online_for(now).total_seconds() / watched_s) if watched_s > 0 else 0.0,
            ocpp_version=health.ocpp_version,
            vendor=identity.vendor,
            model=identity.model,
            firmware=identity.firmware,
            clock_skew_s=record.skew.skew.total_seconds(),
            connections=health.connections,
            refused_logins=health.refused_logins,
            last_refusal=health.last_refusal,
            frames=health.frames,
            unanswered_calls=health.unanswered_calls,
            silent_in_a_row=health.silent_in_a_row,
            late_answers=health.late_answers,
            failed_answers=health.failed_answers,
            takes_no_limits=record.is_exhausted,
            violations=dict(health.violations),
            error_codes=dict(health.error_codes),
            notices=tuple(health.notices),
        )
