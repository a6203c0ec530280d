"""What a virtual station does with certificates, in the words of OCPP 1.6 (security extension) and 2.x."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from scenarios.outbox import Payload
from scenarios.station_core import StationCore
from scenarios.station_keys import certificate_name

SIGNING_WORDS = {"SignChargePointCertificate", "SignChargingStationCertificate"}
"""How versions ask a station to have a new certificate signed."""


class StationSecurity:
    """Certificates of one station.

    Args:
        core: The station.
        names_kind: Whether the version names the kind of a certificate (2.x).
    """

    def __init__(self, core: StationCore, *, names_kind: bool) -> None:
        self._core = core
        self._names_kind = names_kind
        self.handlers = {
            "CertificateSigned": self._certificate_signed,
            "InstallCertificate": self._install,
            "GetInstalledCertificateIds": self._installed,
            "DeleteCertificate": self._delete,
        }

    def ask_for_certificate(self) -> None:
        """Make a new key and ask for its certificate."""
        told: dict[str, object] = {"csr": self._core.keys.request()}
        if self._names_kind:
            told["certificateType"] = "ChargingStationCertificate"
        self._core.tell(("SignCertificate", lambda: told))

    def tell_event(self, kind: str, text: str, at: str) -> None:
        """Tell something that concerns security."""
        told = {"type": kind, "timestamp": at, "techInfo": text}
        self._core.tell(("SecurityEventNotification", lambda: told), durable=True)

    def _certificate_signed(self, payload: Mapping[str, Any], _now: datetime) -> Payload:
        taken = self._core.keys.take_certificate(payload["certificateChain"])
        # The next connection is made with it, at once.
        self._core.reset_wanted = self._core.reset_wanted or taken
        return {"status": "Accepted" if taken else "Rejected"}

    def _install(self, payload: Mapping[str, Any], _now: datetime) -> Payload:
        taken = self._core.keys.install(payload["certificateType"], payload["certificate"])
        return {"status": "Accepted" if taken else "Rejected"}

    def _installed(self, payload: Mapping[str, Any], _now: datetime) -> Payload:
        asked = payload.get("certificateType")
        kinds = [asked] if isinstance(asked, str) else asked or list(self._core.keys.roots)
        found = [
            (kind, certificate_name(certificate))
            for kind in kinds
            for certificate in self._core.keys.roots.get(kind, ())
        ]
        if not found:
            return {"status": "NotFound"}
        if self._names_kind:
            chains = [{"certificateType": kind, "certificateHashData": name} for kind, name in found]
            return {"status": "Accepted", "certificateHashDataChain": chains}
        return {"status": "Accepted", "certificateHashData": [name for _, name in found]}

    def _delete(self, payload: Mapping[str, Any], _now: datetime) -> Payload:
        return {"status": "Accepted" if self._core.keys.delete(payload["certificateHashData"]) else "NotFound"}
