"""Signs the certificates by which stations prove who they are (OCPP security profile 3)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from optimizer.domain.ids import StationId
from optimizer.errors import InvalidConfiguration, InvalidInput
from optimizer.ports import Clock

LEAST_RSA_BITS = 2048
"""OCPP 2.0.1 A00.FR.502: keys as strong as RSA of 2048 bits, or stronger."""

LEAST_EC_BITS = 224
"""The same for elliptic curves (A00.FR.501)."""

BACKDATE = timedelta(hours=1)
"""A new certificate is good since a while: clocks differ."""

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class StationAuthority:
    """An authority that signs for the stations of one site.

    Args:
        certificate: PEM file with its certificate; it must be one of an authority.
        private_key: PEM file with its key, RSA or elliptic curve, not encrypted.
        clock: Real time, by which TLS judges certificates.
        valid_days: How long what it signs is good [days].

    Raises:
        InvalidConfiguration: A file cannot be read, or the two do not belong together.
    """

    def __init__(self, certificate: Path, private_key: Path, clock: Clock, *, valid_days: int = 365) -> None:
        self._clock: Final = clock
        self._valid: Final = timedelta(days=valid_days)
        try:
            self._certificate = x509.load_pem_x509_certificate(certificate.read_bytes())
            key = serialization.load_pem_private_key(private_key.read_bytes(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            fix = f"give PEM files of a certificate and its key, not encrypted: {error}"
            raise InvalidConfiguration("ocpp.authority", str(certificate), fix) from error
        if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise InvalidConfiguration("ocpp.authority.key", str(private_key), "give a key of RSA or elliptic curves")
        self._key: SigningKey = key
        if key.public_key() != self._certificate.public_key():
            fix = "give the key that belongs to the certificate"
            raise InvalidConfiguration("ocpp.authority.key", str(private_key), fix)
        if not _is_authority(self._certificate):
            fix = "give the certificate of an authority (basicConstraints CA)"
            raise InvalidConfiguration("ocpp.authority.certificate", str(certificate), fix)

    def sign(self, request_pem: str, station_id: StationId) -> str:
        """The certificate that a station asks for, followed by the authority's own, as PEM text.

        Args:
            request_pem: PKCS #10 request in PEM.
            station_id: Who asks; the name in the request must be this one.

        Raises:
            InvalidInput: The request is unreadable, weak, or for another's name.
        """
        request = read_request(request_pem, station_id)
        now = self._clock.now()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, station_id)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._certificate.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(min(now + self._valid, self._certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_only_signatures(), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(request.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        signed = builder.sign(self._key, hashes.SHA256())
        chain = (signed, self._certificate)
        return "".join(one.public_bytes(serialization.Encoding.PEM).decode("ascii") for one in chain)


def read_request(request_pem: str, station_id: StationId) -> x509.CertificateSigningRequest:
    """A signing request, checked: whole, made by who holds the key, strong enough, and for its own name.

    Raises:
        InvalidInput: It is not.
    """
    shown = f"{request_pem[:40]}..."
    try:
        request = x509.load_pem_x509_csr(request_pem.encode("ascii"))
        is_genuine = request.is_signature_valid
        key = request.public_key()
        names = [str(name.value) for name in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise InvalidInput("csr", shown, f"send a PKCS #10 request in PEM: {error}") from error
    if not is_genuine:
        raise InvalidInput("csr", shown, "sign it with the key that it holds")
    strong = (isinstance(key, rsa.RSAPublicKey) and key.key_size >= LEAST_RSA_BITS) or (
        isinstance(key, ec.EllipticCurvePublicKey) and key.key_size >= LEAST_EC_BITS
    )
    if not strong:
        raise InvalidInput("csr", type(key).__name__, f"use RSA from {LEAST_RSA_BITS} bits, or elliptic curves")
    if names != [station_id]:
        raise InvalidInput("csr.commonName", names, f"name the station, {station_id!r}, and nothing else")
    return request


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _only_signatures() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
