"""What a virtual station is, and in which ways it misbehaves."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from optimizer.domain.site import Station
from scenarios.profiles import ORDINARY_RULES, ProfileRules


class OcppVersion(StrEnum):
    """A version of the protocol."""

    V16 = "1.6"
    V201 = "2.0.1"
    V21 = "2.1"

    @property
    def subprotocol(self) -> str:
        """Its name in the WebSocket handshake."""
        return f"ocpp{self.value}"


class Misbehaviour(StrEnum):
    """What real stations were seen to do wrong."""

    SLOW = "slow"
    """Takes long to obey an accepted limit."""
    REJECTS_AMPERES = "rejects_amperes"
    """Takes limits in watts only."""
    REJECTS_ZERO = "rejects_zero"
    """Takes no limit of zero."""
    IGNORES = "ignores"
    """Accepts every profile and obeys none."""
    NEVER_ANSWERS = "never_answers"
    """Answers no call."""
    REPLAYS_OLD_SAMPLES = "replays_old_samples"
    """Sends old meter values again, between new ones."""
    KWH_AS_WH = "kwh_as_wh"
    """Sends kWh and says Wh."""
    TRANSACTION_MINUS_ONE = "transaction_minus_one"
    """Sends -1 for the transaction in meter values."""
    NO_WAKE = "no_wake"
    """No car at it charges again after a pause."""
    BOOT_STORM = "boot_storm"
    """Boots again and again."""
    TWO_SOCKETS = "two_sockets"
    """Opens a second connection while the first is open."""
    SKEWED_CLOCK = "skewed_clock"
    """Its clock is wrong, and stays so."""
    DROPS_AT_RANDOM = "drops_at_random"
    """Loses its connection now and then."""


@dataclass(frozen=True, slots=True)
class MisbehaviourFigures:
    """How much of each misbehaviour."""

    reaction_s: float = 20.0
    """SLOW: from accepting a limit until obeying it [s]."""
    skew_s: float = -95.0
    """SKEWED_CLOCK: its clock less the true time [s]."""
    replay_age_s: float = 900.0
    """REPLAYS_OLD_SAMPLES: age of the sample that is sent again [s]."""
    boot_every_s: float = 60.0
    """BOOT_STORM: between two boots [s]."""
    boots: int = 20
    """BOOT_STORM: boots before it calms down."""
    drop_every_s: float = 1800.0
    """DROPS_AT_RANDOM: mean time between two losses of the connection [s]."""
    second_socket_every_s: float = 3600.0
    """TWO_SOCKETS: between two openings of a second connection [s]."""


@dataclass(frozen=True, slots=True)
class StationSettings:
    """A virtual station."""

    station: Station
    """Its identity and its EVSEs."""
    version: OcppVersion = OcppVersion.V16
    """The protocol it speaks."""
    vendor: str = "chargehorizon"
    """Maker it tells."""
    model: str = "virtual"
    """Model it tells."""
    firmware: str = "1"
    """Firmware it tells."""
    reading_interval_s: int = 300
    """Between two clock-aligned meter readings [s]; 0: none. A central system may change it."""
    sample_interval_s: int = 0
    """Between two meter samples counted from the start of a transaction [s]; 0: none. May be changed too."""
    tells_each_phase: bool = False
    """Whether readings tell voltage and power of each phase too, and the current that is offered."""
    reads_when_idle: bool = False
    """Whether aligned readings are sent without a transaction; most stations do not."""
    profile_rules: ProfileRules = ORDINARY_RULES
    """Which profiles it takes."""
    reaction_s: float = 0.0
    """From accepting a limit until obeying it [s]."""
    starts_offline: bool = True
    """Whether it charges a car that comes while the central system is away."""
    boots_on_reconnect: bool = False
    """Whether it announces itself after every loss of the connection; most stations do not."""
    first_register_kwh: float = 0.0
    """What its meters had counted when it was put up [kWh]."""
    misbehaviours: frozenset[Misbehaviour] = frozenset()
    """What it does wrong."""
    figures: MisbehaviourFigures = MisbehaviourFigures()
    """How much."""

    def has(self, misbehaviour: Misbehaviour) -> bool:
        """Whether it misbehaves so."""
        return misbehaviour in self.misbehaviours
