"""Keys and certificates of a virtual station: it makes its own keys, has them signed, and trusts what it is told to."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import NameOID


class StationKeys:
    """What one station needs to prove who it is.

    Args:
        name: Its id, the common name of its certificates.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting_key: ec.EllipticCurvePrivateKey | None = None
        self._pair: tuple[bytes, bytes] | None = None
        self.roots: dict[str, list[x509.Certificate]] = {}
        """Authorities that it trusts, by OCPP's word for their kind."""

    def request(self) -> str:
        """A new key's signing request, as PEM text; the key is used when its certificate comes."""
        self._waiting_key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(self._waiting_key, hashes.SHA256())
        return request.public_bytes(serialization.Encoding.PEM).decode("ascii")

    def take_certificate(self, chain_pem: str) -> bool:
        """Use a signed certificate from the next connection on; one that is not for the newest key is refused."""
        try:
            signed = x509.load_pem_x509_certificates(chain_pem.encode("ascii"))[0]
        except (ValueError, IndexError):
            return False
        if self._waiting_key is None or signed.public_key() != self._waiting_key.public_key():
            return False
        key = self._waiting_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._pair, self._waiting_key = (chain_pem.encode("ascii"), key), None
        return True

    def context(self, given: ssl.SSLContext | None) -> ssl.SSLContext | None:
        """The TLS context of the next connection: as given, with the station's own certificate where it has one."""
        if given is None or self._pair is None:
            return given
        context = ssl.create_default_context()
        context.load_verify_locations(
            cadata="".join(map(ssl.DER_cert_to_PEM_cert, given.get_ca_certs(binary_form=True)))
        )
        with TemporaryDirectory() as folder:
            certificate, key = Path(folder, "certificate.pem"), Path(folder, "key.pem")
            certificate.write_bytes(self._pair[0])
            key.write_bytes(self._pair[1])
            context.load_cert_chain(certificate, key)
        return context

    def install(self, kind: str, certificate_pem: str) -> bool:
        """Trust an authority; returns whether it is one."""
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem.encode("ascii"))
        except ValueError:
            return False
        self.roots.setdefault(kind, []).append(certificate)
        return True

    def delete(self, named: Mapping[str, Any]) -> bool:
        """Trust an authority no more; returns whether it was known."""
        for certificates in self.roots.values():
            for certificate in certificates:
                if certificate_name(certificate) == dict(named):
                    certificates.remove(certificate)
                    return True
        return False


def certificate_name(certificate: x509.Certificate) -> dict[str, str]:
    """OCPP's CertificateHashData of a self-signed certificate."""
    return {
        "hashAlgorithm": "SHA256",
        "issuerNameHash": hashlib.sha256(certificate.issuer.public_bytes()).hexdigest(),
        "issuerKeyHash": hashlib.sha256(_key_bits(certificate.public_key())).hexdigest(),
        "serialNumber": format(certificate.serial_number, "x"),
    }


def _key_bits(key: CertificatePublicKeyTypes) -> bytes:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
