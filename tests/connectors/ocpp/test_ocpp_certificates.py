"""Certificates: signed for their own station alone, handed out over the wire, renewed before they end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import ClientSession
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from connectors.clock import SystemClock
from connectors.ocpp.authority import StationAuthority, read_request
from connectors.ocpp.operations import StationOperations
from connectors.ocpp.security import SecurityProfile, StationGate, server_tls
from connectors.ocpp.security_desk import SecurityDesk
from optimizer.domain.ids import StationId
from optimizer.domain.operation import RootKind
from optimizer.domain.site import Station
from optimizer.errors import InvalidConfiguration, InvalidInput
from scenarios.station_keys import StationKeys
from scenarios.station_settings import OcppVersion, StationSettings
from scenarios.station_state import StationWatchers
from scenarios.virtual_station import CentralSystem, LinkTimings, VirtualStation

CERTIFICATES = Path(__file__).parent / "certificates"
S16 = StationId("S16")
VERSIONS = [("S16", OcppVersion.V16), ("S201", OcppVersion.V201), ("S201", OcppVersion.V21)]
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def request_pem(key: Key, *names: str) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, algorithm)
    return request.public_bytes(serialization.Encoding.PEM).decode()


def curve() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    kind = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())


def root_certificate(key: ec.EllipticCurvePrivateKey, *, ca: bool = True) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1000))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


@pytest.fixture(scope="module")
def authority_files(tmp_path_factory) -> tuple[Path, Path]:
    folder, key = tmp_path_factory.mktemp("authority"), curve()
    certificate, private_key = folder / "authority.pem", folder / "authority.key"
    certificate.write_bytes(root_certificate(key).public_bytes(serialization.Encoding.PEM))
    private_key.write_bytes(pem_of(key))
    return certificate, private_key


@pytest.fixture(scope="module")
def authority(authority_files) -> StationAuthority:
    return StationAuthority(*authority_files, SystemClock(), valid_days=90)


class TestAuthority:
    def test_what_it_signs_is_for_the_station_and_for_clients_alone(self, authority, authority_files) -> None:
        key = curve()
        leaf, issuer = x509.load_pem_x509_certificates(authority.sign(request_pem(key, "S16"), S16).encode())
        assert leaf.public_key() == key.public_key()
        assert leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "S16"
        assert leaf.not_valid_after_utc - datetime.now(UTC) <= timedelta(days=90)
        assert leaf.not_valid_before_utc < datetime.now(UTC)
        assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
        leaf.verify_directly_issued_by(issuer)
        assert issuer == x509.load_pem_x509_certificate(authority_files[0].read_bytes())

    def test_serial_numbers_differ(self, authority) -> None:
        text = request_pem(curve(), "S16")
        assert len({authority.sign(text, S16) for _ in range(3)}) == 3

    @pytest.mark.parametrize(
        ("case", "text"),
        [
            ("no PEM", "a certificate, please"),
            ("nothing", ""),
            ("not ASCII", "-----BEGIN CERTIFICATE REQUEST-----\u00e9"),
            ("another's name", request_pem(curve(), "D16")),
            ("no name", request_pem(curve())),
            ("two names", request_pem(curve(), "S16", "D16")),
            ("a weak key", request_pem(rsa.generate_private_key(65537, 1024), "S16")),
            ("a key of another kind", request_pem(ed25519.Ed25519PrivateKey.generate(), "S16")),
        ],
    )
    def test_requests_that_are_refused(self, case: str, text: str) -> None:
        with pytest.raises(InvalidInput, match="csr"):
            read_request(text, S16)

    def test_a_request_that_was_tampered_with_is_refused(self) -> None:
        whole = x509.load_pem_x509_csr(request_pem(curve(), "S16").encode())
        der = bytearray(whole.public_bytes(serialization.Encoding.DER))
        der[der.index(b"S16")] = ord("T")
        text = ssl.DER_cert_to_PEM_cert(bytes(der)).replace("CERTIFICATE", "CERTIFICATE REQUEST")
        with pytest.raises(InvalidInput, match="sign it with the key"):
            read_request(text, StationId("T16"))

    def test_files_that_do_not_belong_together(self, authority_files, tmp_path) -> None:
        other = tmp_path / "other.key"
        other.write_bytes(pem_of(curve()))
        with pytest.raises(InvalidConfiguration, match="belongs to the certificate"):
            StationAuthority(authority_files[0], other, SystemClock())

    def test_a_certificate_that_may_sign_nothing(self, tmp_path) -> None:
        key, certificate, private_key = curve(), tmp_path / "leaf.pem", tmp_path / "leaf.key"
        certificate.write_bytes(root_certificate(key, ca=False).public_bytes(serialization.Encoding.PEM))
        private_key.write_bytes(pem_of(key))
        with pytest.raises(InvalidConfiguration, match="basicConstraints"):
            StationAuthority(certificate, private_key, SystemClock())

    @pytest.mark.parametrize("broken", [0, 1])
    def test_files_that_cannot_be_read_are_named(self, authority_files, broken: int) -> None:
        files = list(authority_files)
        files[broken] = CERTIFICATES / "README.md"
        with pytest.raises(InvalidConfiguration, match="PEM"):
            StationAuthority(*files, SystemClock())


class Journal:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str, str]] = []

    async def note(self, actor: str, action: str, subject: str, detail: str) -> None:
        self.entries.append((action, subject, detail))

    @property
    def actions(self) -> list[str]:
        return [action for action, _, _ in self.entries]


@asynccontextmanager
async def virtual_station(bench: Any, station_id: str, version: OcppVersion, **system: Any) -> AsyncIterator[Any]:
    station = next(one for one in bench.system._records.values() if one.station.id == station_id).station
    assert isinstance(station, Station)
    timings = LinkTimings(reconnect_first_s=0.01, reconnect_longest_s=0.05, retry_after_s=0.01)
    async with ClientSession() as http:
        virtual = VirtualStation(
            StationSettings(station, version),
            CentralSystem(bench.url.rstrip("/"), timings=timings, **system),
            SystemClock(), http, StationWatchers(), Random(1),
        )  # fmt: skip
        living = asyncio.create_task(virtual.run())
        try:
            yield virtual
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
    assert virtual.violations == []


class TestOverTheWire:
    @pytest.mark.parametrize(("station_id", "version"), VERSIONS)
    async def test_a_station_gets_its_certificate_and_comes_back_with_it(
        self, open_bench: Callable[..., Any], authority, authority_files, station_id: str, version: OcppVersion
    ) -> None:
        journal = Journal()
        desk = SecurityDesk(SystemClock(), journal, authority)
        server = CERTIFICATES / "server.pem"
        tls = server_tls(SecurityProfile.TLS_CLIENT_CERTIFICATE, server, server, authority_files[0])
        mutual = StationGate(SecurityProfile.TLS_CLIENT_CERTIFICATE)
        trusting = ssl.create_default_context(cafile=CERTIFICATES / "authority.pem")
        async with (
            open_bench(gate=mutual, ssl=tls, desk=desk) as bench,
            virtual_station(bench, station_id, version, tls=trusting) as virtual,
        ):
            # It is commissioned with a certificate that was signed by hand.
            first = authority.sign(virtual.core.keys.request(), StationId(station_id))
            assert virtual.core.keys.take_certificate(first)
            await bench.eventually(lambda: virtual.core.is_booted)
            reply = await StationOperations(bench.system.link).renew_certificate(StationId(station_id))
            assert reply.accepted
            await bench.eventually(lambda: virtual.connections >= 2 and virtual.core.is_online)
            assert virtual.core.keys._pair[0].decode() != first
            await bench.eventually(lambda: "certificate.signed" in journal.actions)

    async def test_the_new_certificate_opens_no_other_door(self, open_bench, authority, authority_files) -> None:
        server = CERTIFICATES / "server.pem"
        tls = server_tls(SecurityProfile.TLS_CLIENT_CERTIFICATE, server, server, authority_files[0])
        journal = Journal()
        desk = SecurityDesk(SystemClock(), journal, authority)
        keys = StationKeys("S16")
        assert keys.take_certificate(authority.sign(keys.request(), S16))
        context = keys.context(ssl.create_default_context(cafile=CERTIFICATES / "authority.pem"))
        mutual = StationGate(SecurityProfile.TLS_CLIENT_CERTIFICATE)
        async with open_bench(gate=mutual, ssl=tls, desk=desk) as bench:
            assert await bench.station("S16", ssl=context)
            with pytest.raises(Exception, match="401"):
                await bench.station("D16", ssl=context)
            assert journal.entries == [("station.refused", "D16", journal.entries[0][2])]

    @pytest.mark.parametrize(("station_id", "version"), [("S16", "ocpp1.6"), ("S201", "ocpp2.0.1")])
    async def test_without_an_authority_nothing_is_signed(self, bench, station_id: str, version: str) -> None:
        station = await bench.booted(station_id, version)
        answer = await station.call("SignCertificate", {"csr": request_pem(curve(), station_id)})
        assert answer == {"status": "Rejected"}

    @pytest.mark.parametrize(
        ("case", "told"),
        [
            ("another's name", {"csr": request_pem(curve(), "D16")}),
            ("rubbish", {"csr": "x"}),
            ("no request", {}),
            ("of ISO 15118", {"csr": request_pem(curve(), "S201"), "certificateType": "V2GCertificate"}),
        ],
    )
    async def test_what_is_not_signed_is_told_and_kept(self, open_bench, authority, case: str, told: dict) -> None:
        journal = Journal()
        async with open_bench(desk=SecurityDesk(SystemClock(), journal, authority)) as bench:
            station = await bench.booted("S201", "ocpp2.0.1")
            assert await station.call("SignCertificate", told) == {"status": "Rejected"}, case
            assert journal.actions == ["certificate.refused"]
            assert station.payloads("CertificateSigned") == []

    async def test_a_certificate_that_the_station_does_not_take_is_told(self, open_bench, authority) -> None:
        journal = Journal()
        async with open_bench(desk=SecurityDesk(SystemClock(), journal, authority)) as bench:
            station = await bench.booted()
            station.replies["CertificateSigned"] = {"status": "Rejected"}
            assert await station.call("SignCertificate", {"csr": request_pem(curve(), "S16")}) == {"status": "Accepted"}
            await bench.eventually(lambda: journal.actions == ["certificate.not_taken"])

    @pytest.mark.parametrize(("station_id", "version"), VERSIONS)
    async def test_authorities_are_installed_listed_and_deleted(
        self, bench, station_id: str, version: OcppVersion
    ) -> None:
        root = root_certificate(curve()).public_bytes(serialization.Encoding.PEM).decode()
        operations, name = StationOperations(bench.system.link), StationId(station_id)
        async with virtual_station(bench, station_id, version) as virtual:
            await bench.eventually(lambda: virtual.core.is_booted)
            assert await operations.installed_certificates(name, RootKind.CENTRAL_SYSTEM) == ()
            assert (await operations.install_certificate(name, RootKind.CENTRAL_SYSTEM, root)).accepted
            assert not (await operations.install_certificate(name, RootKind.MANUFACTURER, "no PEM")).accepted
            (installed,) = await operations.installed_certificates(name, RootKind.CENTRAL_SYSTEM)
            serial = x509.load_pem_x509_certificate(root.encode()).serial_number
            assert installed.serial_number == format(serial, "x")
            assert (await operations.delete_certificate(name, installed)).accepted
            assert not (await operations.delete_certificate(name, installed)).accepted
            assert await operations.installed_certificates(name, RootKind.CENTRAL_SYSTEM) == ()


class StepClock:
    """Sleeps by jumping; stops the one who sleeps too often."""

    def __init__(self, at: datetime, sleeps: int) -> None:
        self.at = at
        self._left = sleeps

    def now(self) -> datetime:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self._left -= 1
        if self._left < 0:
            raise asyncio.CancelledError
        self.at += timedelta(seconds=seconds)

    def wall_seconds(self, seconds: float) -> float:
        return seconds


class TestExpiry:
    @pytest.mark.parametrize(
        ("case", "days_left", "sleeps", "reminders"),
        [
            ("far from its end", 100, 5, 0),
            ("near its end", 10, 0, 1),
            ("asked again every day", 10, 3, 4),
            ("from far to near", 33, 5, 3),
            ("past its end", -1, 1, 2),
        ],
    )
    async def test_a_station_is_reminded(
        self, open_bench, authority, case: str, days_left: int, sleeps: int, reminders: int
    ) -> None:
        journal = Journal()
        async with open_bench() as bench:
            station = await bench.booted("S201", "ocpp2.0.1")
            clock = StepClock(datetime(2026, 1, 1, tzinfo=UTC), sleeps)
            desk = SecurityDesk(clock, journal, authority)
            record, link = bench.system._records[StationId("S201")], bench.system.link(StationId("S201"))
            ends_at = clock.at + timedelta(days=days_left)
            with pytest.raises(asyncio.CancelledError):
                await desk.watch(record, link, ends_at)
            assert [payload["requestedMessage"] for payload in station.payloads("TriggerMessage")] == [
                "SignChargingStationCertificate"
            ] * reminders, case
            kinds = [notice.kind for notice in record.health.notices]
            assert kinds.count("CertificateExpiry") == reminders
            assert journal.actions == ["certificate.expires"] * min(1, reminders), "the audit log is not flooded"


class TestEvents:
    @pytest.mark.parametrize(("station_id", "version"), [("S16", "ocpp1.6"), ("S201", "ocpp2.0.1")])
    async def test_what_a_station_tells_is_kept(self, open_bench, station_id: str, version: str) -> None:
        journal = Journal()
        async with open_bench(desk=SecurityDesk(SystemClock(), journal)) as bench:
            station = await bench.booted(station_id, version)
            told = {"type": "TamperDetectionActivated", "timestamp": "2026-03-02T08:00:00Z", "techInfo": "the lid"}
            assert await station.call("SecurityEventNotification", told) == {}
            assert journal.entries == [("station.security_event", station_id, "TamperDetectionActivated: the lid")]

    async def test_a_flood_is_one_entry_and_other_kinds_are_not_drowned(self, open_bench) -> None:
        journal = Journal()
        async with open_bench(desk=SecurityDesk(SystemClock(), journal)) as bench:
            station = await bench.booted()
            for kind in ["InvalidMessages"] * 20 + ["TamperDetectionActivated"]:
                await station.call("SecurityEventNotification", {"type": kind, "timestamp": "2026-03-02T08:00:00Z"})
            assert [detail for _, _, detail in journal.entries] == ["InvalidMessages: ", "TamperDetectionActivated: "]

    async def test_strangers_are_kept_once_a_minute(self, open_bench) -> None:
        journal = Journal()
        async with open_bench(desk=SecurityDesk(SystemClock(), journal)) as bench:
            for name in ("nobody", "somebody", "x" * 200):
                with pytest.raises(Exception, match="404"):
                    await bench.station(name)
            assert [(action, subject) for action, subject, _ in journal.entries] == [("station.unknown", "nobody")]

    async def test_a_journal_that_fails_makes_the_station_repeat(self, open_bench) -> None:
        class Broken(Journal):
            async def note(self, actor: str, action: str, subject: str, detail: str) -> None:
                raise OSError("disk full")

        async with open_bench(desk=SecurityDesk(SystemClock(), Broken())) as bench:
            station = await bench.booted()
            told = {"type": "InvalidMessages", "timestamp": "2026-03-02T08:00:00Z"}
            assert (await station.frame("SecurityEventNotification", told))[:1] == [4]
