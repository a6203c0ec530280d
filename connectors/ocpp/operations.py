"""What an operator can ask of a station: start, stop, restart, lock, reserve, configure, log, update, change keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import count

import structlog

from connectors.ocpp.call_queue import Answered, Refused, Unanswered
from connectors.ocpp.dialect import Calls
from connectors.ocpp.link import StationLink
from connectors.ocpp.outbound import Message, SettingName, status_text
from connectors.ocpp.security import PasswordStore, hash_password, new_password
from optimizer.domain.ids import StationId, TokenId, TransactionId
from optimizer.domain.operation import CertificateName, RootKind, StationReply, Trigger
from optimizer.errors import ChargerRefused, ChargerUnreachable

GREATEST_HELD = 2
"""Older passwords that stay good beside a new one, where a station was given several and has used none."""

YES = {"Accepted", "Scheduled", "RebootRequired", "Unlocked", "AcceptedCanceled"}
"""Words by which stations agree."""


class StationOperations:
    """Carries out what operators ask of stations.

    Args:
        link: Finds the connection of a station (`OcppCentralSystem.link`).
        passwords: Keeps passwords; ``None``: they cannot be changed.
    """

    def __init__(self, link: Callable[[StationId], StationLink | None], passwords: PasswordStore | None = None) -> None:
        self._link = link
        self._passwords = passwords
        self._request_numbers = count(1)
        self._log = structlog.get_logger(__name__)

    async def start(self, station_id: StationId, ocpp_evse_id: int, token_id: TokenId) -> StationReply:
        """Start a transaction for a token.

        Raises:
            ChargerUnreachable: The station is offline or silent. So for every other operation.
            ChargerRefused: It answered with an error. So for every other operation.
            InvalidInput: OCPP permits no such value. So for every other operation.
        """
        number = next(self._request_numbers)
        return await self._ask(station_id, lambda calls: calls.start(ocpp_evse_id, token_id, number))

    async def stop(self, station_id: StationId, transaction_id: TransactionId) -> StationReply:
        """Stop a transaction."""
        return await self._ask(station_id, lambda calls: calls.stop(transaction_id))

    async def reset(self, station_id: StationId, *, hard: bool = False) -> StationReply:
        """Restart the station; not hard: when nothing charges."""
        return await self._ask(station_id, lambda calls: calls.reset(hard=hard))

    async def set_availability(self, station_id: StationId, ocpp_evse_id: int, *, operative: bool) -> StationReply:
        """Put an EVSE, or with 0 the whole station, in or out of service."""
        return await self._ask(station_id, lambda calls: calls.availability(ocpp_evse_id, operative=operative))

    async def unlock(self, station_id: StationId, ocpp_evse_id: int) -> StationReply:
        """Unlock the plug of an EVSE."""
        return await self._ask(station_id, lambda calls: calls.unlock(ocpp_evse_id))

    async def reserve(
        self, station_id: StationId, reservation_ref: int, ocpp_evse_id: int, token_id: TokenId, until: datetime
    ) -> StationReply:
        """Reserve an EVSE for a token; the station is advisory only, the service enforces reservations itself."""
        return await self._ask(station_id, lambda calls: calls.reserve(reservation_ref, ocpp_evse_id, token_id, until))

    async def cancel_reservation(self, station_id: StationId, reservation_ref: int) -> StationReply:
        """Give a reservation up."""
        return await self._ask(station_id, lambda calls: calls.cancel_reservation(reservation_ref))

    async def trigger(self, station_id: StationId, what: Trigger, ocpp_evse_id: int | None = None) -> StationReply:
        """Ask for a message now."""
        return await self._ask(station_id, lambda calls: calls.trigger(what, ocpp_evse_id))

    async def composite_schedule(self, station_id: StationId, ocpp_evse_id: int, duration_s: int) -> StationReply:
        """Ask which limits hold; for diagnosis only, stations answer this in many odd ways."""
        return await self._ask(station_id, lambda calls: calls.composite_schedule(ocpp_evse_id, duration_s))

    async def upload_log(self, station_id: StationId, url: str) -> StationReply:
        """Have diagnostics uploaded."""
        number = next(self._request_numbers)
        return await self._ask(station_id, lambda calls: calls.upload_log(url, number))

    async def update_firmware(self, station_id: StationId, url: str, at: datetime) -> StationReply:
        """Have firmware fetched and installed."""
        number = next(self._request_numbers)
        return await self._ask(station_id, lambda calls: calls.update_firmware(url, at, number))

    async def send_local_list(
        self, station_id: StationId, list_version: int, token_ids: Sequence[TokenId]
    ) -> StationReply:
        """Replace the list of tokens that may charge while the station is offline."""
        return await self._ask(station_id, lambda calls: calls.local_list(list_version, token_ids))

    async def clear_cache(self, station_id: StationId) -> StationReply:
        """Have learnt tokens forgotten."""
        return await self._ask(station_id, lambda calls: calls.clear_cache())

    async def read_settings(self, station_id: StationId, names: Sequence[str]) -> dict[str, str]:
        """Settings by the station's own names; those that it does not have are left out."""
        link = self._connected(station_id)
        reply = await self._ask(station_id, lambda calls: calls.read_settings(names))
        return link.calls.settings_read(reply.payload)

    async def write_setting(self, station_id: StationId, name: str, value: str) -> StationReply:
        """Change one setting by the station's own name."""
        link = self._connected(station_id)
        reply = await self._ask(station_id, lambda calls: calls.write_setting(name, value))
        taken = link.calls.setting_taken(reply.payload)
        return StationReply(taken, reply.status, reply.payload)

    async def install_certificate(self, station_id: StationId, kind: RootKind, certificate_pem: str) -> StationReply:
        """Have a station trust an authority; one that is to take another's place is installed before that one goes."""
        return await self._ask(station_id, lambda calls: calls.install_certificate(kind, certificate_pem))

    async def installed_certificates(self, station_id: StationId, kind: RootKind) -> tuple[CertificateName, ...]:
        """The authorities that a station trusts."""
        link = self._connected(station_id)
        reply = await self._ask(station_id, lambda calls: calls.installed_certificates(kind))
        return link.calls.certificates_told(reply.payload)

    async def delete_certificate(self, station_id: StationId, name: CertificateName) -> StationReply:
        """Have a station trust an authority no more."""
        return await self._ask(station_id, lambda calls: calls.delete_certificate(name))

    async def renew_certificate(self, station_id: StationId) -> StationReply:
        """Have a station make a new key and ask for its certificate."""
        return await self._ask(station_id, lambda calls: calls.request_signing())

    async def rotate_password(self, station_id: StationId) -> StationReply:
        """Give a station a new password.

        Old and new are both good from now on. The old one ends when the station has come in with the new one, for one
        that agreed may still need a restart, or forget; so it does not lock itself out. When it refuses, the new one
        ends at once; when it stays silent, nobody knows which one it holds.
        """
        if self._passwords is None:
            raise ChargerRefused("passwords are not kept in a store that can change them")
        link = self._connected(station_id)
        before = await self._passwords.password_hash(station_id)
        password = new_password()
        after = hash_password(password)
        held = before.split(" ")[-GREATEST_HELD:] if before else []
        await self._passwords.replace_password(station_id, " ".join([*held, after]))
        refused = True
        try:
            name = link.calls.setting_names[SettingName.PASSWORD]
            reply = await self.write_setting(station_id, name, password)
            refused = not reply.accepted
        except ChargerUnreachable:
            refused = False
            raise
        finally:
            if refused and before:
                await self._passwords.replace_password(station_id, before)
        self._log.info("password changed" if reply.accepted else "password kept", station_id=station_id)
        return StationReply(reply.accepted, reply.status, {})

    def _connected(self, station_id: StationId) -> StationLink:
        link = self._link(station_id)
        if link is None:
            raise ChargerUnreachable(f"station {station_id} is not connected")
        return link

    async def _ask(self, station_id: StationId, build: Callable[[Calls], Message]) -> StationReply:
        link = self._connected(station_id)
        message = build(link.calls)
        match await link.ask(message):
            case Answered(payload):
                status = payload.get("status")
                accepted = status in YES if isinstance(status, str) else True
                return StationReply(accepted, status_text(payload) if "status" in payload else "", payload)
            case Refused(code, description):
                raise ChargerRefused(f"station {station_id} refused {message.action}: {code} {description}".strip())
            case Unanswered(why):
                raise ChargerUnreachable(f"station {station_id}: {message.action}: {why}")
