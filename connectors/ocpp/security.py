"""Who may connect: OCPP security profiles 0 to 3."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
import ssl
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Final, Protocol

import structlog
from aiohttp import web

from optimizer.domain.ids import StationId
from optimizer.errors import InvalidConfiguration, StorageFailed

HASH_ROUNDS = 20_000
"""Rounds of PBKDF2. Keys are 16 to 40 random characters, so the hash guards against copies of the database, not
against guessing; thousands of stations may come back at once."""

_SCHEME = "pbkdf2-sha256"
_MINUTE_S = 60.0


class SecurityProfile(IntEnum):
    """Security profiles of OCPP."""

    NONE = 0
    """No password, no encryption; for loopback and closed networks, by explicit choice."""
    BASIC = 1
    """Password, no encryption."""
    TLS_BASIC = 2
    """Password over TLS."""
    TLS_CLIENT_CERTIFICATE = 3
    """Certificates on both sides."""


class PasswordStore(Protocol):
    """Keeps what is needed to check stations' passwords, and can change it."""

    async def password_hash(self, station_id: StationId) -> str | None:
        """The hash that `hash_password` made; ``None``: the station has no password.

        Several, with blanks between, while a password is being changed: the newest stands last.
        """
        ...

    async def replace_password(self, station_id: StationId, password_hash: str) -> None:
        """Replace the hash of one station; durable when this returns."""
        ...


class StaticCredentials:
    """Password hashes from the configuration.

    Args:
        hashes: By station, as `hash_password` made them.
    """

    def __init__(self, hashes: Mapping[StationId, str]) -> None:
        self._hashes: Final = dict(hashes)

    async def password_hash(self, station_id: StationId) -> str | None:
        """The hash of one station."""
        return self._hashes.get(station_id)

    async def replace_password(self, station_id: StationId, password_hash: str) -> None:  # noqa: ARG002 - none is
        """Passwords that stand in the configuration alone cannot be changed.

        Raises:
            StorageFailed: Always.
        """
        raise StorageFailed("passwords stand in the configuration alone; name ocpp.passwords_file to change them")


def new_password() -> str:
    """A fresh AuthorizationKey: 20 random bytes as hex text, the form that every station takes."""
    return secrets.token_hex(20)


def hash_password(password: str) -> str:
    """What to store of ``password``.

    Raises:
        InvalidConfiguration: OCPP permits no such password.
    """
    if not 16 <= len(password) <= 64:
        raise InvalidConfiguration("password", "(hidden)", "give 16 to 64 characters")
    salt = secrets.token_bytes(16)
    digest = _digest(_canonical(password.encode()), salt, HASH_ROUNDS)
    return f"{_SCHEME}${HASH_ROUNDS}${salt.hex()}${digest.hex()}"


def password_fits(presented: bytes, stored: str) -> bool:
    """Whether ``presented`` is the password: as text, or as the bytes that its hex text stands for.

    Args:
        presented: What the station sent.
        stored: What `hash_password` made; several, with blanks between, while a password is being changed.

    Raises:
        InvalidConfiguration: ``stored`` is something else.
    """
    # All are reckoned, whichever fits, so that the time taken tells nothing.
    fits = [_fits_one(presented, one) for one in stored.split(" ")]
    return any(fits)


def _fits_one(presented: bytes, stored: str) -> bool:
    try:
        scheme, rounds, salt_hex, digest_hex = stored.split("$")
        salt, digest, count = bytes.fromhex(salt_hex), bytes.fromhex(digest_hex), int(rounds)
    except ValueError as error:
        raise InvalidConfiguration("password_hash", "(hidden)", f"store what {_SCHEME} hashing made") from error
    if scheme != _SCHEME:
        raise InvalidConfiguration("password_hash", scheme, f"only {_SCHEME} is known")
    as_text = hmac.compare_digest(_digest(_canonical(presented), salt, count), digest)
    as_bytes = hmac.compare_digest(_digest(presented.hex().encode(), salt, count), digest)
    return as_text or as_bytes


def _canonical(password: bytes) -> bytes:
    """Hex text in small letters; anything else as it is."""
    try:
        return bytes.fromhex(password.decode("ascii")).hex().encode()
    except ValueError:
        return password


def _digest(password: bytes, salt: bytes, rounds: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password, salt, rounds)


class StationGate:
    """Admits stations by the security profile in force.

    Args:
        profile: Which profile. `SecurityProfile.NONE` must be asked for by name.
        credentials: Password hashes, for profiles 1 and 2.
        failed_logins_per_minute: Wrong passwords from one address for one station before more are refused unread.
    """

    def __init__(
        self, profile: SecurityProfile, credentials: PasswordStore | None = None, failed_logins_per_minute: int = 10
    ) -> None:
        if profile in (SecurityProfile.BASIC, SecurityProfile.TLS_BASIC) and credentials is None:
            raise InvalidConfiguration("ocpp.credentials", None, f"security profile {profile.value} needs passwords")
        self.profile: Final = profile
        self._credentials = credentials
        self._failed_logins_per_minute = failed_logins_per_minute
        self._failures: Counter[tuple[StationId, str]] = Counter()
        self._failures_since_s = 0.0
        self._seal_key = secrets.token_bytes(32)
        self._seals: dict[StationId, bytes] = {}
        self._log = structlog.get_logger(__name__)

    async def admit(self, request: web.BaseRequest, station_id: StationId) -> None:
        """Return when the station may connect.

        Raises:
            HTTPUnauthorized: Password or certificate is missing or wrong.
            HTTPForbidden: The connection is not as secure as the profile demands.
            HTTPTooManyRequests: Too many wrong passwords.
        """
        if self.profile >= SecurityProfile.TLS_BASIC and not request.secure:
            raise web.HTTPForbidden(text="this station must connect by TLS")
        if self.profile is SecurityProfile.TLS_CLIENT_CERTIFICATE:
            self._check_certificate(request, station_id)
        elif self.profile is not SecurityProfile.NONE:
            await self._check_password(request, station_id)

    async def _check_password(self, request: web.BaseRequest, station_id: StationId) -> None:
        source = (station_id, request.remote or "")
        self._forget_old_failures()
        if self._failures[source] >= self._failed_logins_per_minute:
            raise web.HTTPTooManyRequests(text="too many wrong passwords", headers={"Retry-After": "60"})
        user_name, password = _basic_credentials(request.headers.get("Authorization", ""))
        stored = await self._credentials.password_hash(station_id) if self._credentials is not None else None
        if stored is None or user_name != station_id.encode() or not await self._fits(station_id, password, stored):
            self._failures[source] += 1
            self._log.warning(
                "station refused: wrong password",
                station_id=station_id,
                remote=request.remote,
                times=self._failures[source],
            )
            raise web.HTTPUnauthorized(
                text="wrong user name or password", headers={"WWW-Authenticate": 'Basic realm="OCPP"'}
            )

    async def _fits(self, station_id: StationId, password: bytes, stored: str) -> bool:
        """Whether the password fits; one that did before is recognised without hashing it anew."""
        seal = hmac.digest(self._seal_key, stored.encode() + b"\0" + password, "sha256")
        known = self._seals.get(station_id)
        if known is not None and hmac.compare_digest(known, seal):
            return True
        fits = await asyncio.to_thread(password_fits, password, stored)
        if fits:
            self._seals[station_id] = seal
            await self._end_older(station_id, password, stored)
        return fits

    async def _end_older(self, station_id: StationId, password: bytes, stored: str) -> None:
        """Once a station has come in with its newest password, the ones before are good no more."""
        older, _, newest = stored.rpartition(" ")
        if older and self._credentials is not None and await asyncio.to_thread(password_fits, password, newest):
            await self._credentials.replace_password(station_id, newest)
            self._log.info("new password in use", station_id=station_id)

    def _forget_old_failures(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._failures_since_s > _MINUTE_S:
            self._failures.clear()
            self._failures_since_s = now_s

    def _check_certificate(self, request: web.BaseRequest, station_id: StationId) -> None:
        """Hold the certificate's common name against the station's id (OCPP 2.0.1 A00.FR.405)."""
        name = _common_name(request)
        if name is None or not hmac.compare_digest(name.encode(), station_id.encode()):
            self._log.warning("station refused: certificate of another", station_id=station_id, common_name=name)
            raise web.HTTPUnauthorized(text="the certificate is not this station's")


def _basic_credentials(header: str) -> tuple[bytes, bytes]:
    """User name and password of an Authorization header; the password may be any bytes."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return b"", b""
    try:
        user_name, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return b"", b""
    return user_name, password


def _common_name(request: web.BaseRequest) -> str | None:
    certificate = request.get_extra_info("peercert")
    if not certificate:
        return None
    names = [value for group in certificate.get("subject", ()) for key, value in group if key == "commonName"]
    return names[0] if len(names) == 1 else None


def certificate_end(request: web.BaseRequest) -> datetime | None:
    """When the certificate ends that the station showed [UTC]; ``None``: it showed none."""
    ends = (request.get_extra_info("peercert") or {}).get("notAfter")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC) if isinstance(ends, str) else None


def server_tls(
    profile: SecurityProfile, certificate: Path, private_key: Path, station_authority: Path | None = None
) -> ssl.SSLContext:
    """The TLS context of the OCPP port.

    Args:
        profile: 2 or 3.
        certificate: PEM file with the server's certificate chain.
        private_key: PEM file with its key.
        station_authority: PEM file with the authority that signs station certificates; needed for profile 3.

    Raises:
        InvalidConfiguration: A file is missing or no PEM.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, private_key)
        if profile is SecurityProfile.TLS_CLIENT_CERTIFICATE:
            if station_authority is None:
                raise InvalidConfiguration("ocpp.station_authority", None, "name the PEM file; profile 3 needs it")
            context.load_verify_locations(station_authority)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise InvalidConfiguration("ocpp.certificate", str(certificate), f"give readable PEM files: {error}") from error
    return context
