"""The Protocols through which operators, and what acts for them, speak with stations beside their limits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from optimizer.domain.ids import StationId, TokenId, TransactionId
from optimizer.domain.operation import CertificateName, RootKind, StationReply, StationReport, Stranger, Trigger


class StationReserver(Protocol):
    """Tells stations whom an EVSE is kept for; raises as `StationOperator` does."""

    async def reserve(
        self, station_id: StationId, reservation_ref: int, ocpp_evse_id: int, token_id: TokenId, until: datetime
    ) -> StationReply:
        """Have an EVSE kept for a token until then; the same reference again replaces what it said before."""
        ...

    async def cancel_reservation(self, station_id: StationId, reservation_ref: int) -> StationReply:
        """Have a reservation forgotten."""
        ...


class StationReporter(Protocol):
    """Tells how stations fare."""

    def report(self, station_id: StationId) -> StationReport:
        """How one station fares. Raises NotFound."""
        ...

    def strangers(self) -> tuple[Stranger, ...]:
        """Who tried to connect under a name that the site does not know, newest first."""
        ...


class StationOperator(Protocol):
    """Carries out what operators ask of stations.

    Every call raises ChargerUnreachable where the station is offline or silent, ChargerRefused where it answers with an
    error, and InvalidInput where OCPP permits no such value.
    """

    async def start(self, station_id: StationId, ocpp_evse_id: int, token_id: TokenId) -> StationReply:
        """Start a transaction for a token."""
        ...

    async def stop(self, station_id: StationId, transaction_id: TransactionId) -> StationReply:
        """Stop a transaction."""
        ...

    async def reset(self, station_id: StationId, *, hard: bool = False) -> StationReply:
        """Restart the station; not hard: when nothing charges."""
        ...

    async def set_availability(self, station_id: StationId, ocpp_evse_id: int, *, operative: bool) -> StationReply:
        """Put an EVSE, or with 0 the whole station, in or out of service."""
        ...

    async def unlock(self, station_id: StationId, ocpp_evse_id: int) -> StationReply:
        """Unlock the plug of an EVSE."""
        ...

    async def trigger(self, station_id: StationId, what: Trigger, ocpp_evse_id: int | None = None) -> StationReply:
        """Ask for a message now."""
        ...

    async def composite_schedule(self, station_id: StationId, ocpp_evse_id: int, duration_s: int) -> StationReply:
        """Ask which limits hold; for diagnosis only."""
        ...

    async def upload_log(self, station_id: StationId, url: str) -> StationReply:
        """Have diagnostics uploaded."""
        ...

    async def update_firmware(self, station_id: StationId, url: str, at: datetime) -> StationReply:
        """Have firmware fetched at ``at`` and installed."""
        ...

    async def send_local_list(
        self, station_id: StationId, list_version: int, token_ids: Sequence[TokenId]
    ) -> StationReply:
        """Replace the list of tokens that may charge while the station is offline."""
        ...

    async def clear_cache(self, station_id: StationId) -> StationReply:
        """Have learnt tokens forgotten."""
        ...

    async def read_settings(self, station_id: StationId, names: Sequence[str]) -> dict[str, str]:
        """Settings by the station's own names; those that it does not have are left out."""
        ...

    async def write_setting(self, station_id: StationId, name: str, value: str) -> StationReply:
        """Change one setting by the station's own name."""
        ...

    async def install_certificate(self, station_id: StationId, kind: RootKind, certificate_pem: str) -> StationReply:
        """Have the station trust an authority."""
        ...

    async def installed_certificates(self, station_id: StationId, kind: RootKind) -> tuple[CertificateName, ...]:
        """The authorities that the station trusts."""
        ...

    async def delete_certificate(self, station_id: StationId, name: CertificateName) -> StationReply:
        """Have the station trust an authority no more."""
        ...

    async def renew_certificate(self, station_id: StationId) -> StationReply:
        """Have the station make a new key and ask for its certificate."""
        ...

    async def rotate_password(self, station_id: StationId) -> StationReply:
        """Give the station a new password; the old one holds where it does not take it."""
        ...
