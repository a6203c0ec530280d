"""What can be set at the OCPP endpoint. Waiting times are seconds of the wall, whatever the injected clock does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from optimizer.domain.ids import StationId
from optimizer.errors import InvalidConfiguration


class Version(StrEnum):
    """An OCPP version, named as its websocket sub-protocol."""

    V16 = "ocpp1.6"
    V201 = "ocpp2.0.1"
    V21 = "ocpp2.1"

    @property
    def number(self) -> str:
        """The version as people write it: 1.6, 2.0.1 or 2.1."""
        return self.value.removeprefix("ocpp")


@dataclass(frozen=True, slots=True)
class OcppSettings:
    """Settings of the OCPP endpoint; the defaults suit real stations at real time."""

    versions: tuple[Version, ...] = (Version.V201, Version.V16)
    """Versions served; add ``Version.V21`` to serve 2.1 with profiles in the form of 2.0.1."""
    assumed_versions: Mapping[StationId, Version] = field(default_factory=dict)
    """Stations that name no sub-protocol, each with the version it really speaks."""
    heartbeat_interval_s: int = 300
    """Heartbeat interval told to stations, by their clock [s]."""
    heartbeat_spread_share: float = 0.1
    """Share of the interval by which stations differ, so that a storm does not come back as one."""
    ping_interval_s: float | None = 60.0
    """Idle time after which a websocket ping is sent; none back within half of it ends the connection [s]."""
    no_ping_stations: frozenset[StationId] = frozenset()
    """Stations that answer no ping; ``silence_limit_s`` alone ends their connections."""
    never_zero_stations: frozenset[StationId] = frozenset()
    """Stations that are told their least current where they would be told zero: those at which cars do not come back
    from a pause, though zero is taken."""
    stop_to_pause_stations: frozenset[StationId] = frozenset()
    """Stations whose transactions are ended where the plan pauses for a quarter of an hour or more, and started again
    after it: those at which neither zero nor the least current is a pause that cars come back from."""
    silence_limit_s: float = 1800.0
    """Time without any frame after which a connection without pings is ended [s]."""
    call_timeout_s: float = 20.0
    """Time a station has to answer a call [s]."""
    call_attempts: int = 2
    """How often a call is sent; only silence is followed by another attempt."""
    queue_limit: int = 64
    """Greatest number of calls that wait for one station."""
    queue_patience_s: float = 60.0
    """Time after which a call that could not be sent is given up [s]."""
    settle_s: float = 5.0
    """Time given to a station that connects to announce itself, before it is spoken to [s]."""
    after_boot_s: float = 0.2
    """Pause between the answer to a BootNotification and the first call [s]."""
    send_timeout_s: float = 10.0
    """Time in which the network must take a frame; else the connection is ended [s]."""
    close_timeout_s: float = 2.0
    """Time a station has to agree to the end of a connection [s]."""
    message_limit_bytes: int = 256 * 1024
    """Greatest size of a frame; a longer one ends the connection with code 1009."""
    frames_per_s: float = 100.0
    """Rate of frames at which one station is made to wait [1/s]."""
    frames_burst: int = 1000
    """Frames that may arrive at once before the rate counts."""
    connects_per_minute: int = 30
    """Connections of one station in a minute of the wall; more are refused for the rest of it."""
    failed_logins_per_minute: int = 10
    """Wrong passwords from one address for one station in a minute; more are refused unread."""
    contact_stations: bool = True
    """Whether a station that connects is asked for its abilities and told what to measure."""
    contacts_at_once: int = 20
    """Stations that are contacted at the same time after they connected; the others wait their turn."""
    measurands: tuple[str, ...] = (
        "Energy.Active.Import.Register",
        "Power.Active.Import",
        "Current.Import",
        "Voltage",
        "SoC",
    )
    """What stations are asked to measure during a transaction; what one refuses is left out."""
    meter_interval_s: int = 60
    """How often stations are asked to send it that do so too seldom, by their clock [s]; 0: never asked."""
    slowest_meter_interval_s: int = 300
    """Interval from which a station sends meter values often enough of its own accord, by its clock [s]."""
    reaction_s: float = 60.0
    """Time after which a limit should show in the meter, by the injected clock [s]."""
    backdate_s: float = 60.0
    """How far in the past a charging schedule starts, by the injected clock [s]."""
    plan_lasts_offline_s: int | None = None
    """Time after which an offline station of OCPP 2.1 drops its plan for the safe default [s]; ``None``: never."""
    dynamic_profiles: bool = False
    """Whether plans go to stations of OCPP 2.1 as dynamic profiles, of which only the limit is renewed
    (UpdateDynamicSchedule); needs ``plan_lasts_offline_s``, since such a profile holds no later, safe value."""
    v2x: bool = False
    """Whether stations of OCPP 2.1 that can are told to have vehicles give power back."""
    phase_limits: bool = False
    """Whether stations of OCPP 2.1 are told the limit of each phase by itself, where phases are to differ."""
    station_maxima_kw: Mapping[StationId, float] = field(default_factory=dict)
    """Stations that are bounded as a whole, each with its share of the fuse; written once after each contact [kW]."""
    skew_threshold_s: float = 30.0
    """Difference of a station's clock from ours that is corrected [s]."""

    def __post_init__(self) -> None:
        if not self.versions:
            raise InvalidConfiguration("ocpp.versions", self.versions, "name at least one version")
        for name in ("call_timeout_s", "queue_patience_s", "send_timeout_s", "close_timeout_s", "frames_per_s"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise InvalidConfiguration(f"ocpp.{name}", value, "give a number above 0")
        for name in (
            "call_attempts",
            "queue_limit",
            "frames_burst",
            "connects_per_minute",
            "heartbeat_interval_s",
            "contacts_at_once",
        ):
            value = getattr(self, name)
            if value < 1:
                raise InvalidConfiguration(f"ocpp.{name}", value, "give a whole number from 1 up")
        if not 0 <= self.heartbeat_spread_share < 1:
            raise InvalidConfiguration(
                "ocpp.heartbeat_spread_share",
                self.heartbeat_spread_share,
                "give a number from 0 up to, not including, 1",
            )
        if self.dynamic_profiles and self.plan_lasts_offline_s is None:
            fix = "give the seconds after which an offline station falls back to its safe default"
            raise InvalidConfiguration("ocpp.plan_lasts_offline_s", None, f"{fix}; dynamic_profiles needs it")
        for station_id, maximum_kw in self.station_maxima_kw.items():
            if not 0 < maximum_kw < float("inf"):
                raise InvalidConfiguration(f"ocpp.station_maxima_kw.{station_id}", maximum_kw, "give a number above 0")
        if self.message_limit_bytes < 1024:
            raise InvalidConfiguration("ocpp.message_limit_bytes", self.message_limit_bytes, "give 1024 or more")
