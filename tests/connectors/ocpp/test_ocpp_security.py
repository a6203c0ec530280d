"""Who may connect: security profiles 0 to 3."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path

import pytest
from aiohttp import ClientConnectorError, ClientOSError, ServerDisconnectedError, WSServerHandshakeError, web
from structlog.testing import capture_logs

from connectors.ocpp.security import (
    SecurityProfile,
    StaticCredentials,
    StationGate,
    hash_password,
    new_password,
    password_fits,
    server_tls,
)
from optimizer.domain.ids import StationId
from optimizer.errors import InvalidConfiguration

CERTIFICATES = Path(__file__).parent / "certificates"
KEY = "0123456789ABCDEFfedcba9876543210aabbccdd"
S16 = StationId("S16")


def basic(user: str | bytes, password: str | bytes) -> dict[str, str]:
    user, password = (part.encode() if isinstance(part, str) else part for part in (user, password))
    return {"Authorization": "Basic " + base64.b64encode(user + b":" + password).decode()}


def gate(profile=SecurityProfile.BASIC, tries: int = 10) -> StationGate:
    hashes = {S16: hash_password(KEY), StationId("D16"): hash_password("a plain password")}
    return StationGate(profile, StaticCredentials(hashes), failed_logins_per_minute=tries)


class TestPasswords:
    @pytest.mark.parametrize(
        ("presented", "fits"),
        [
            pytest.param(KEY.encode(), True, id="hex text as stored"),
            pytest.param(KEY.lower().encode(), True, id="hex text in small letters"),
            pytest.param(bytes.fromhex(KEY), True, id="the bytes that the hex text stands for"),
            pytest.param(KEY[:-1].encode() + b"0", False, id="one letter off"),
            pytest.param(b"", False, id="empty"),
            pytest.param(bytes.fromhex(KEY)[:-1], False, id="one byte short"),
            pytest.param(b"\xff\x00", False, id="any bytes"),
        ],
    )
    def test_either_form_of_the_key_fits(self, presented, fits) -> None:
        assert password_fits(presented, hash_password(KEY)) is fits

    def test_plain_text_fits_as_it_is(self) -> None:
        stored = hash_password("sixteen letters!")
        assert password_fits(b"sixteen letters!", stored)
        assert not password_fits(b"Sixteen letters!", stored)

    def test_same_password_is_stored_differently_each_time(self) -> None:
        assert hash_password(KEY) != hash_password(KEY)
        assert KEY.lower() not in hash_password(KEY).lower()

    def test_new_passwords_are_hex_text_and_differ(self) -> None:
        assert len(bytes.fromhex(new_password())) == 20
        assert new_password() != new_password()

    @pytest.mark.parametrize("password", ["short", "x" * 65])
    def test_length_that_ocpp_forbids(self, password) -> None:
        with pytest.raises(InvalidConfiguration) as refused:
            hash_password(password)
        assert password not in str(refused.value)

    @pytest.mark.parametrize("stored", ["", "md5$1$00$00", "pbkdf2-sha256$x$00$00", "pbkdf2-sha256$1$zz$00"])
    def test_stored_text_that_is_no_hash(self, stored) -> None:
        with pytest.raises(InvalidConfiguration):
            password_fits(b"x", stored)

    def test_profiles_with_passwords_need_a_store(self) -> None:
        with pytest.raises(InvalidConfiguration):
            StationGate(SecurityProfile.BASIC)


class TestBasicAuthentication:
    async def test_right_password_connects_and_again(self, open_bench) -> None:
        async with open_bench(gate=gate()) as bench:
            for password in (KEY, bytes.fromhex(KEY), KEY):
                station = await bench.station("S16", headers=basic("S16", password))
                assert (await station.boot())["status"] == "Accepted"

    @pytest.mark.parametrize(
        ("station_id", "headers"),
        [
            pytest.param("S16", {}, id="none"),
            pytest.param("S16", basic("S16", "wrong password....."), id="wrong password"),
            pytest.param("S16", basic("D16", KEY), id="another's name"),
            pytest.param("S16", basic("s16", KEY), id="name in small letters"),
            pytest.param("S201", basic("S201", KEY), id="station without a password"),
            pytest.param("S16", {"Authorization": "Basic ???"}, id="no base64"),
            pytest.param("S16", {"Authorization": "Bearer " + KEY}, id="another scheme"),
            pytest.param("S16", basic("S16", ""), id="empty password"),
        ],
    )
    async def test_everything_else_is_refused(self, open_bench, station_id, headers) -> None:
        async with open_bench(gate=gate()) as bench:
            with pytest.raises(WSServerHandshakeError) as refused:
                await bench.station(station_id, headers=headers)
            assert refused.value.status == 401
            assert refused.value.headers["WWW-Authenticate"].startswith("Basic")
            assert bench.events.happened == []

    async def test_connected_station_is_not_pushed_out_by_a_wrong_password(self, open_bench) -> None:
        async with open_bench(gate=gate()) as bench:
            station = await bench.station("S16", headers=basic("S16", KEY))
            with pytest.raises(WSServerHandshakeError):
                await bench.station("S16", headers=basic("S16", "wrong password....."))
            assert (await station.call("Heartbeat"))["currentTime"]

    async def test_guessing_is_slowed_for_the_station_guessed_at(self, open_bench) -> None:
        async with open_bench(gate=gate(tries=2)) as bench:
            statuses = []
            for _ in range(4):
                with pytest.raises(WSServerHandshakeError) as refused:
                    await bench.station("S16", headers=basic("S16", "wrong password....."))
                statuses.append(refused.value.status)
            assert statuses == [401, 401, 429, 429]
            assert await bench.station("D16", headers=basic("D16", "a plain password"))

    async def test_passwords_never_reach_the_log(self, open_bench) -> None:
        with capture_logs() as logs:
            async with open_bench(gate=gate()) as bench:
                with pytest.raises(WSServerHandshakeError):
                    await bench.station("S16", headers=basic("S16", "very secret wrong"))
                await bench.station("S16", headers=basic("S16", KEY))
        assert any(line["event"].startswith("station refused") for line in logs)
        for secret in ("very secret wrong", KEY, basic("S16", KEY)["Authorization"]):
            assert secret not in repr(logs)


def client_tls(certificate: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=CERTIFICATES / "authority.pem")
    if certificate is not None:
        context.load_cert_chain(CERTIFICATES / certificate)
    return context


class TestTls:
    @pytest.fixture
    def basic_over_tls(self) -> ssl.SSLContext:
        server = CERTIFICATES / "server.pem"
        return server_tls(SecurityProfile.TLS_BASIC, server, server)

    @pytest.fixture
    def mutual_tls(self) -> ssl.SSLContext:
        server = CERTIFICATES / "server.pem"
        profile = SecurityProfile.TLS_CLIENT_CERTIFICATE
        return server_tls(profile, server, server, CERTIFICATES / "authority.pem")

    async def test_profile_2_takes_the_password_over_tls(self, open_bench, basic_over_tls) -> None:
        async with open_bench(gate=gate(SecurityProfile.TLS_BASIC), ssl=basic_over_tls) as bench:
            station = await bench.station("S16", headers=basic("S16", KEY), ssl=client_tls())
            assert (await station.boot())["status"] == "Accepted"
            with pytest.raises(WSServerHandshakeError) as refused:
                await bench.station("S16", headers=basic("S16", "wrong password....."), ssl=client_tls())
            assert refused.value.status == 401

    async def test_profile_2_refuses_plain_text(self, open_bench) -> None:
        async with open_bench(gate=gate(SecurityProfile.TLS_BASIC)) as bench:
            with pytest.raises(WSServerHandshakeError) as refused:
                await bench.station("S16", headers=basic("S16", KEY))
            assert refused.value.status == 403

    async def test_profile_3_takes_the_stations_certificate(self, open_bench, mutual_tls) -> None:
        mutual = StationGate(SecurityProfile.TLS_CLIENT_CERTIFICATE)
        async with open_bench(gate=mutual, ssl=mutual_tls) as bench:
            station = await bench.station("S16", ssl=client_tls("station_S16.pem"))
            assert (await station.boot())["status"] == "Accepted"

    async def test_profile_3_binds_the_certificate_to_the_station(self, open_bench, mutual_tls) -> None:
        mutual = StationGate(SecurityProfile.TLS_CLIENT_CERTIFICATE)
        async with open_bench(gate=mutual, ssl=mutual_tls) as bench:
            with pytest.raises(WSServerHandshakeError) as refused:
                await bench.station("D16", ssl=client_tls("station_S16.pem"))
            assert refused.value.status == 401

    async def test_profile_3_needs_a_certificate(self, open_bench, mutual_tls) -> None:
        mutual = StationGate(SecurityProfile.TLS_CLIENT_CERTIFICATE)
        async with open_bench(gate=mutual, ssl=mutual_tls) as bench:
            with pytest.raises((ClientConnectorError, ClientOSError, ServerDisconnectedError)):
                await bench.station("S16", ssl=client_tls())

    @pytest.mark.parametrize(
        ("certificate", "authority"),
        [
            ("missing.pem", "authority.pem"),
            ("README.md", "authority.pem"),
            ("server.pem", None),
            ("server.pem", "README.md"),
        ],
    )
    def test_wrong_files_are_named(self, certificate, authority) -> None:
        path = CERTIFICATES / certificate
        with pytest.raises(InvalidConfiguration):
            server_tls(
                SecurityProfile.TLS_CLIENT_CERTIFICATE, path, path, CERTIFICATES / authority if authority else None
            )


class TestSeveralDoors:
    async def test_each_profile_has_a_port_of_its_own_and_the_newest_connection_counts(self, open_bench) -> None:
        """A station moves from no password to a password to its certificate, and never is two stations."""
        server = CERTIFICATES / "server.pem"
        mutual = SecurityProfile.TLS_CLIENT_CERTIFICATE
        doors = [
            (gate(), None, {"headers": basic("S16", KEY)}, {}),
            (
                StationGate(mutual),
                server_tls(mutual, server, server, CERTIFICATES / "authority.pem"),
                {"ssl": client_tls("station_S16.pem")},
                {"headers": basic("S16", KEY), "ssl": client_tls()},
            ),
        ]
        async with open_bench() as bench:
            at_first = await bench.booted()
            for admits, tls, right, wrong in doors:
                runner = web.AppRunner(bench.system.application(admits), access_log=None)
                await runner.setup()
                await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
                url = f"{'wss' if tls else 'ws'}://127.0.0.1:{runner.addresses[0][1]}/ocpp/S16"
                with pytest.raises((WSServerHandshakeError, ClientOSError, ServerDisconnectedError)):
                    await bench.client.ws_connect(url, protocols=("ocpp1.6",), **wrong)
                assert not at_first.socket.closed, "who is not let in pushes nobody out"
                bench.url = url.removesuffix("S16")
                newer = await bench.station("S16", **right)
                assert (await newer.boot())["status"] == "Accepted"
                assert await at_first.gone() == 1008
                at_first = newer
                bench.runners.append(runner)
            assert bench.system.is_online(S16)
