"""Messages about certificates, in 1.6 (security extension) and in 2.x."""

from __future__ import annotations

from typing import Any, Final

from connectors.ocpp.frames import Json
from connectors.ocpp.outbound import Message, checked
from connectors.ocpp.settings import Version
from connectors.ocpp.translate import clean_text, part, parts
from optimizer.domain.operation import CertificateName, RootKind

_ROOTS_16: Final = {
    RootKind.CENTRAL_SYSTEM: "CentralSystemRootCertificate",
    RootKind.MANUFACTURER: "ManufacturerRootCertificate",
}
_ROOTS_2X: Final = {
    RootKind.CENTRAL_SYSTEM: "CSMSRootCertificate",
    RootKind.MANUFACTURER: "ManufacturerRootCertificate",
}


class SecurityCalls16:
    """Builds the messages of OCPP 1.6 about certificates."""

    version: Version

    def certificate_signed(self, chain_pem: str, request_number: int | None) -> Message:  # noqa: ARG002 - 2.1 has it
        """CertificateSigned.req."""
        return self._checked("CertificateSigned", {"certificateChain": chain_pem})

    def install_certificate(self, kind: RootKind, certificate_pem: str) -> Message:
        """InstallCertificate.req."""
        told = {"certificateType": _ROOTS_16[kind], "certificate": certificate_pem}
        return self._checked("InstallCertificate", told)

    def installed_certificates(self, kind: RootKind) -> Message:
        """GetInstalledCertificateIds.req."""
        return self._checked("GetInstalledCertificateIds", {"certificateType": _ROOTS_16[kind]})

    def delete_certificate(self, name: CertificateName) -> Message:
        """DeleteCertificate.req."""
        return self._checked("DeleteCertificate", {"certificateHashData": _name_json(name)})

    def request_signing(self) -> Message:
        """ExtendedTriggerMessage.req for SignCertificate."""
        return self._checked("ExtendedTriggerMessage", {"requestedMessage": "SignChargePointCertificate"})

    def certificates_told(self, payload: Json) -> tuple[CertificateName, ...]:
        """The names in GetInstalledCertificateIds.conf."""
        return _names(parts(payload, "certificateHashData"))

    def _checked(self, action: str, payload: Json) -> Message:
        return checked(Message(action, payload), self.version)


class SecurityCalls2x:
    """Builds the messages of OCPP 2.x about certificates."""

    version: Version

    def certificate_signed(self, chain_pem: str, request_number: int | None) -> Message:
        """CertificateSignedRequest; 2.1 names the request that it answers."""
        told: Json = {"certificateChain": chain_pem, "certificateType": "ChargingStationCertificate"}
        if request_number is not None and self.version is Version.V21:
            told["requestId"] = request_number
        return self._checked("CertificateSigned", told)

    def install_certificate(self, kind: RootKind, certificate_pem: str) -> Message:
        """InstallCertificateRequest."""
        told = {"certificateType": _ROOTS_2X[kind], "certificate": certificate_pem}
        return self._checked("InstallCertificate", told)

    def installed_certificates(self, kind: RootKind) -> Message:
        """GetInstalledCertificateIdsRequest."""
        return self._checked("GetInstalledCertificateIds", {"certificateType": [_ROOTS_2X[kind]]})

    def delete_certificate(self, name: CertificateName) -> Message:
        """DeleteCertificateRequest."""
        return self._checked("DeleteCertificate", {"certificateHashData": _name_json(name)})

    def request_signing(self) -> Message:
        """TriggerMessageRequest for SignCertificate."""
        return self._checked("TriggerMessage", {"requestedMessage": "SignChargingStationCertificate"})

    def certificates_told(self, payload: Json) -> tuple[CertificateName, ...]:
        """The names in GetInstalledCertificateIdsResponse."""
        chains = [entry for entry in parts(payload, "certificateHashDataChain") if isinstance(entry, dict)]
        return _names([part(entry, "certificateHashData") for entry in chains])

    def _checked(self, action: str, payload: Json) -> Message:
        return checked(Message(action, payload), self.version)


def _name_json(name: CertificateName) -> Json:
    return {
        "hashAlgorithm": name.hash_algorithm,
        "issuerNameHash": name.issuer_name_hash,
        "issuerKeyHash": name.issuer_key_hash,
        "serialNumber": name.serial_number,
    }


def _names(entries: list[Any]) -> tuple[CertificateName, ...]:
    fields = ("hashAlgorithm", "issuerNameHash", "issuerKeyHash", "serialNumber")
    told = [[clean_text(entry.get(field), 128) for field in fields] for entry in entries if isinstance(entry, dict)]
    return tuple(CertificateName(*texts) for texts in told if all(texts))
