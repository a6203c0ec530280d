"""What a version of OCPP must offer: answers to a station's calls, and messages to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from connectors.ocpp.frames import Json
from connectors.ocpp.outbound import Message, SettingName
from connectors.ocpp.settings import Version
from connectors.ocpp.translate_profile import ProfilePurpose, ProfileRequest
from optimizer.domain.ids import TokenId, TransactionId
from optimizer.domain.operation import CertificateName, RootKind, Trigger


class Answers(Protocol):
    """Answers the calls of one station in one version."""

    async def answer(self, action: str, payload: Json) -> Json:
        """Serve a call of the station.

        Raises:
            CallRefused: The station gets an error answer.
        """
        ...


class Calls(Protocol):
    """Builds messages to stations of one version; each is valid by its schema, or InvalidInput is raised."""

    @property
    def version(self) -> Version:
        """Which version."""
        ...

    @property
    def setting_names(self) -> Mapping[SettingName, str]:
        """How this version names the settings that the service uses itself."""
        ...

    def set_profile(self, profile: ProfileRequest) -> Message:
        """Install a charging profile."""
        ...

    def clear_profile(self, profile_id: int) -> Message:
        """Remove one profile."""
        ...

    def clear_layer(self, ocpp_evse_id: int, purpose: ProfilePurpose) -> Message:
        """Remove every profile of one purpose at one EVSE."""
        ...

    def read_settings(self, names: Sequence[str]) -> Message:
        """Ask for settings by name."""
        ...

    def settings_read(self, payload: Json) -> dict[str, str]:
        """The values in the answer to `read_settings`."""
        ...

    def write_setting(self, name: str, value: str) -> Message:
        """Change a setting."""
        ...

    def setting_taken(self, payload: Json) -> bool:
        """Whether the answer to `write_setting` says yes."""
        ...

    def trigger(self, what: Trigger, ocpp_evse_id: int | None) -> Message:
        """Ask for a message."""
        ...

    def start(self, ocpp_evse_id: int, token_id: TokenId, request_number: int) -> Message:
        """Start a transaction."""
        ...

    def stop(self, transaction_id: TransactionId) -> Message:
        """Stop a transaction."""
        ...

    def reset(self, *, hard: bool) -> Message:
        """Restart the station; not hard: when nothing charges."""
        ...

    def availability(self, ocpp_evse_id: int, *, operative: bool) -> Message:
        """Put an EVSE, or with 0 the station, in or out of service."""
        ...

    def unlock(self, ocpp_evse_id: int) -> Message:
        """Unlock a plug."""
        ...

    def reserve(self, reservation_ref: int, ocpp_evse_id: int, token_id: TokenId, until: datetime) -> Message:
        """Reserve an EVSE for a token."""
        ...

    def cancel_reservation(self, reservation_ref: int) -> Message:
        """Give a reservation up."""
        ...

    def composite_schedule(self, ocpp_evse_id: int, duration_s: int) -> Message:
        """Ask which limits hold."""
        ...

    def upload_log(self, url: str, request_number: int) -> Message:
        """Ask for diagnostics."""
        ...

    def update_firmware(self, url: str, at: datetime, request_number: int) -> Message:
        """Ask for a firmware update."""
        ...

    def local_list(self, list_version: int, token_ids: Sequence[TokenId]) -> Message:
        """Replace the list of tokens that may charge while the station is offline."""
        ...

    def clear_cache(self) -> Message:
        """Forget tokens learnt."""
        ...

    def certificate_signed(self, chain_pem: str, request_number: int | None) -> Message:
        """Give a station the certificate that it asked for."""
        ...

    def install_certificate(self, kind: RootKind, certificate_pem: str) -> Message:
        """Have an authority trusted."""
        ...

    def installed_certificates(self, kind: RootKind) -> Message:
        """Ask which authorities are trusted."""
        ...

    def certificates_told(self, payload: Json) -> tuple[CertificateName, ...]:
        """The certificates in the answer to `installed_certificates`."""
        ...

    def delete_certificate(self, name: CertificateName) -> Message:
        """Have an authority trusted no more."""
        ...

    def request_signing(self) -> Message:
        """Have the station ask for a new certificate."""
        ...

    def external_profiles(self) -> Message | None:
        """Ask for the profiles that others installed; ``None`` where the version has no such question."""
        ...

    def transaction_status(self, transaction_id: TransactionId) -> Message | None:
        """Ask whether messages of a transaction are still to come; ``None`` where the version has no such question."""
        ...
