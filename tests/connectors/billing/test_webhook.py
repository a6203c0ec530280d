"""Records to billing over real HTTP: signed, never redirected, tried again on schedule, taken once by their id."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer
from manual_clock import ManualClock

from connectors.billing.delivery import RETRY_DELAYS_S, DeliveryRound, deliver_due
from connectors.billing.public_addresses import PublicAddressResolver
from connectors.billing.signature import WebhookSigner
from connectors.billing.webhook import WebhookBillingSink
from optimizer.domain.cost import CostComponent, CostLine, EnergyCostRecord, RecordStatus, SiteBill
from optimizer.domain.ids import RecordId, SessionId, SiteId, TariffId
from optimizer.domain.moment import Interval
from optimizer.errors import DeliveryFailed, InvalidConfiguration, ReceiverGone, ReceiverUnreachable

SECRET = "whsec_" + base64.b64encode(b"thirty-two bytes of a test secret").decode()
OLD_SECRET = "whsec_" + base64.b64encode(b"the secret that is being replaced").decode()
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def record(number: int = 1, status: RecordStatus = RecordStatus.FINAL) -> EnergyCostRecord:
    return EnergyCostRecord(
        id=RecordId(f"record-{number}"),
        site_id=SiteId("garage"),
        session_id=SessionId(f"session-{number}"),
        status=status,
        made_at=NOW - timedelta(minutes=number),
        window=Interval(NOW - timedelta(hours=5), NOW - timedelta(hours=1)),
        currency="EUR",
        energy_kwh=Decimal("12.345"),
        lines=(
            CostLine(CostComponent.GRID_ENERGY, "Höchstlast", Decimal("10.000"), Decimal("3.10")),
            CostLine(CostComponent.PV_ENERGY, "pv", Decimal("2.345"), Decimal("0E-8"), Decimal("0.18")),
            CostLine(CostComponent.DEMAND_CHARGE, "monthly peak", Decimal("1E+1"), Decimal("-0.004")),
        ),
        tariff_id=TariffId("depot"),
        tariff_version="2026-01",
        method="peak-set/1",
        input_hash="0" * 64,
        optimizer_pause_h=Decimal("0.25"),
        corrects=RecordId("record-0"),
    )


class Outbox:
    """The part of a record store that delivery uses, in memory."""

    def __init__(self, records: Sequence[EnergyCostRecord]) -> None:
        self.queued = {entry.id: entry for entry in records}
        self.attempts = dict.fromkeys(self.queued, 0)
        self.due_at = dict.fromkeys(self.queued, NOW)
        self.delivered: list[RecordId] = []
        self.errors: list[str] = []

    async def undelivered(self, at: datetime, limit: int) -> tuple[tuple[EnergyCostRecord, int], ...]:
        due = [entry for entry in self.queued.values() if self.due_at[entry.id] <= at]
        return tuple((entry, self.attempts[entry.id]) for entry in due[:limit])

    async def mark_delivered(self, record_id: RecordId, at: datetime) -> None:
        del self.queued[record_id]
        self.delivered.append(record_id)

    async def mark_failed(self, record_id: RecordId, next_attempt_at: datetime, error: str) -> None:
        self.attempts[record_id] += 1
        self.due_at[record_id] = next_attempt_at
        self.errors.append(error)

    async def add_record(self, record: EnergyCostRecord) -> bool:
        raise NotImplementedError

    async def records(
        self,
        site_id: SiteId,
        *,
        session_id: SessionId | None = None,
        status: RecordStatus | None = None,
        after: RecordId | None = None,
        limit: int | None = None,
    ) -> tuple[EnergyCostRecord, ...]:
        raise NotImplementedError

    async def save_bill(self, bill: SiteBill) -> None:
        raise NotImplementedError

    async def bills(self, site_id: SiteId) -> tuple[SiteBill, ...]:
        raise NotImplementedError


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Receiver:
    """A billing system: takes each id once, answers as the test says."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.taken: dict[str, bytes] = {}
        self.done = asyncio.Event()
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._receive)
        self.server = TestServer(application)

    @property
    def url(self) -> str:
        return str(self.server.make_url("/costs"))

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.path, headers, body))
        if self.answers:
            return await self.answers.pop(0)(request)
        return self.take(headers["webhook-id"], body)

    def take(self, message_id: str, body: bytes) -> web.Response:
        self.taken.setdefault(message_id, body)
        return web.Response(status=204)

    def says(self, status: int, text: str = "", **headers: str) -> None:
        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(
                status=status, text=text, headers={name.replace("_", "-"): value for name, value in headers.items()}
            )

        self.answers.append(answer)

    def never_answers(self) -> None:
        async def answer(_: web.Request) -> web.StreamResponse:
            await self.done.wait()
            return web.Response(status=204)

        self.answers.append(answer)

    def takes_and_hangs_up(self) -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.take(request.headers["webhook-id"], await request.read())
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=204)

        self.answers.append(answer)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    await receiver.server.start_server()
    yield receiver
    receiver.done.set()
    await receiver.server.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
async def sink(receiver: Receiver, clock: ManualClock) -> AsyncIterator[WebhookBillingSink]:
    async with WebhookBillingSink(
        receiver.url, [SECRET, OLD_SECRET], clock, timeout_s=5.0, allow_private_address=True
    ) as sink:
        yield sink


class TestMessage:
    async def test_the_receiver_can_prove_sender_time_and_content(
        self, receiver: Receiver, sink: WebhookBillingSink
    ) -> None:
        await sink.deliver(record())
        ((_, headers, body),) = receiver.requests
        assert headers["webhook-id"] == "record-1"
        assert headers["webhook-timestamp"] == str(int(NOW.timestamp()))
        assert headers["content-type"] == "application/json"
        signed = b"record-1." + headers["webhook-timestamp"].encode() + b"." + body
        for secret, signature in zip((SECRET, OLD_SECRET), headers["webhook-signature"].split(" "), strict=True):
            key = base64.b64decode(secret.removeprefix("whsec_"))
            assert signature == "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()

    def test_signatures_agree_with_the_reference_vector(self) -> None:
        signer = WebhookSigner(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
        signature = signer.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
        assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

    @pytest.mark.parametrize("status", list(RecordStatus))
    async def test_the_body_tells_the_record_with_money_as_strings(
        self, receiver: Receiver, sink: WebhookBillingSink, status: RecordStatus
    ) -> None:
        await sink.deliver(record(status=status))
        message = json.loads(receiver.requests[0][2])
        assert message["type"] == f"session.energy_cost.{status.value}"
        assert message["timestamp"] == "2026-03-02T11:59:00Z"
        told = message["data"]
        assert (told["energy_kwh"], told["total"], told["currency"]) == ("12.345", "3.09600000", "EUR")
        assert (told["start"], told["end"]) == ("2026-03-02T07:00:00Z", "2026-03-02T11:00:00Z")
        assert (told["optimizer_pause_h"], told["corrects"]) == ("0.25", "record-0")
        assert [(line["component"], line["label"], line["quantity"], line["amount"]) for line in told["lines"]] == [
            ("grid_energy", "Höchstlast", "10.000", "3.10"),
            ("pv_energy", "pv", "2.345", "0.00000000"),
            ("demand_charge", "monthly peak", "10", "-0.004"),
        ]
        assert sum(Decimal(line["amount"]) for line in told["lines"]) == Decimal(told["total"])
        assert told["lines"][1]["opportunity_amount"] == "0.18"

    async def test_a_record_stays_below_the_size_receivers_expect(
        self, receiver: Receiver, sink: WebhookBillingSink
    ) -> None:
        await sink.deliver(record())
        assert len(receiver.requests[0][2]) < 20_000


class TestAnswers:
    @pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
    async def test_any_success_counts(self, receiver: Receiver, sink: WebhookBillingSink, status: int) -> None:
        receiver.says(status)
        await sink.deliver(record())

    @pytest.mark.parametrize(
        ("status", "text", "told"),
        [
            pytest.param(400, "unknown tariff", "HTTP 400: unknown tariff", id="refused with a reason"),
            pytest.param(401, "", "HTTP 401$", id="refused without"),
            pytest.param(500, "x" * 5000, r"HTTP 500: x{300}$", id="a long page is cut"),
            pytest.param(304, "", "redirects", id="not modified"),
        ],
    )
    async def test_anything_else_does_not(
        self, receiver: Receiver, sink: WebhookBillingSink, status: int, text: str, told: str
    ) -> None:
        receiver.says(status, text)
        with pytest.raises(DeliveryFailed, match=told) as caught:
            await sink.deliver(record())
        assert not isinstance(caught.value, ReceiverUnreachable)

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    async def test_a_redirect_is_not_followed(self, receiver: Receiver, sink: WebhookBillingSink, status: int) -> None:
        receiver.says(status, location="/elsewhere")
        with pytest.raises(DeliveryFailed, match=f"redirects .HTTP {status}.; give its final address"):
            await sink.deliver(record())
        assert [path for path, _, _ in receiver.requests] == ["/costs"]

    @pytest.mark.parametrize(
        ("status", "header", "seconds"),
        [
            pytest.param(429, "120", 120, id="too many requests"),
            pytest.param(503, "Mon, 02 Mar 2026 12:01:30 GMT", 90, id="maintenance until a time"),
            pytest.param(503, "Mon, 02 Mar 2026 11:00:00 GMT", 0, id="a time that is over"),
            pytest.param(503, "9999999", 86_400, id="longer than a day"),
            pytest.param(503, "soon", None, id="not understood"),
            pytest.param(500, "120", None, id="not asked for with this status"),
        ],
    )
    async def test_the_time_it_asks_for_is_kept(
        self, receiver: Receiver, sink: WebhookBillingSink, status: int, header: str, seconds: float | None
    ) -> None:
        receiver.says(status, Retry_After=header)
        with pytest.raises(DeliveryFailed) as caught:
            await sink.deliver(record())
        assert caught.value.retry_after_s == seconds

    async def test_gone_ends_all_sending(self, receiver: Receiver, sink: WebhookBillingSink) -> None:
        receiver.says(410)
        for _ in range(3):
            with pytest.raises(ReceiverGone, match="410 Gone"):
                await sink.deliver(record())
        assert len(receiver.requests) == 1

    async def test_silence_is_given_up(self, receiver: Receiver, clock: ManualClock) -> None:
        receiver.never_answers()
        async with WebhookBillingSink(
            receiver.url, [SECRET], clock, timeout_s=0.05, allow_private_address=True
        ) as sink:
            with pytest.raises(ReceiverUnreachable, match=r"did not answer within 0\.05 s"):
                await sink.deliver(record())

    async def test_a_receiver_that_is_down_cannot_be_reached(
        self, receiver: Receiver, sink: WebhookBillingSink
    ) -> None:
        await receiver.server.close()
        with pytest.raises(ReceiverUnreachable, match="cannot be reached"):
            await sink.deliver(record())


async def run_round(outbox: Outbox, sink: WebhookBillingSink, clock: ManualClock, seed: int = 1) -> DeliveryRound:
    return await deliver_due(outbox, sink, clock, Random(seed))


class TestDelivery:
    async def test_all_due_records_are_handed_over(
        self, receiver: Receiver, sink: WebhookBillingSink, clock: ManualClock
    ) -> None:
        outbox = Outbox([record(1), record(2), record(3)])
        assert await run_round(outbox, sink, clock) == DeliveryRound(3, 0, stopped=False)
        assert list(receiver.taken) == outbox.delivered == ["record-1", "record-2", "record-3"]
        assert await run_round(outbox, sink, clock) == DeliveryRound(0, 0, stopped=False)
        assert len(receiver.requests) == 3

    async def test_a_refused_record_does_not_hold_up_the_others(
        self, receiver: Receiver, sink: WebhookBillingSink, clock: ManualClock
    ) -> None:
        outbox = Outbox([record(1), record(2)])
        receiver.says(400, "who is session-1?")
        assert await run_round(outbox, sink, clock) == DeliveryRound(1, 1, stopped=False)
        assert outbox.delivered == ["record-2"]
        assert "who is session-1?" in outbox.errors[0]

    async def test_where_nobody_answers_the_round_ends(self, receiver: Receiver, clock: ManualClock) -> None:
        outbox = Outbox([record(1), record(2), record(3)])
        receiver.never_answers()
        async with WebhookBillingSink(
            receiver.url, [SECRET], clock, timeout_s=0.05, allow_private_address=True
        ) as sink:
            assert await run_round(outbox, sink, clock) == DeliveryRound(0, 1, stopped=True)
        assert outbox.attempts == {"record-1": 1, "record-2": 0, "record-3": 0}

    async def test_a_receiver_that_is_gone_keeps_the_records_queued(
        self, receiver: Receiver, sink: WebhookBillingSink, clock: ManualClock
    ) -> None:
        outbox = Outbox([record(1), record(2)])
        receiver.says(410)
        assert await run_round(outbox, sink, clock) == DeliveryRound(0, 0, stopped=True)
        assert list(outbox.queued) == ["record-1", "record-2"]

    async def test_a_record_whose_receipt_got_lost_is_repeated_alike_and_taken_once(
        self, receiver: Receiver, sink: WebhookBillingSink, clock: ManualClock
    ) -> None:
        outbox = Outbox([record(1)])
        receiver.takes_and_hangs_up()
        assert await run_round(outbox, sink, clock) == DeliveryRound(0, 1, stopped=True)
        clock.advance(seconds=6)
        assert await run_round(outbox, sink, clock) == DeliveryRound(1, 0, stopped=False)
        (_, first, first_body), (_, second, second_body) = receiver.requests
        assert first["webhook-id"] == second["webhook-id"]
        assert first_body == second_body == receiver.taken["record-1"]
        assert first["webhook-signature"] != second["webhook-signature"]
        assert len(receiver.taken) == 1

    async def test_attempts_follow_the_schedule_and_never_end(
        self, receiver: Receiver, sink: WebhookBillingSink, clock: ManualClock
    ) -> None:
        outbox = Outbox([record(1)])
        for delay_s in (*RETRY_DELAYS_S, RETRY_DELAYS_S[-1], RETRY_DELAYS_S[-1]):
            receiver.says(500)
            assert (await run_round(outbox, sink, clock)).failed == 1
            waited_s = (outbox.due_at[RecordId("record-1")] - clock.now()).total_seconds()
            assert delay_s <= waited_s <= 1.1 * delay_s
            clock.advance(seconds=0.99 * delay_s)
            assert (await run_round(outbox, sink, clock)).failed == 0
            clock.advance(seconds=waited_s - 0.99 * delay_s)
        assert (await run_round(outbox, sink, clock)).delivered == 1
        assert RETRY_DELAYS_S == (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)

    async def test_records_that_failed_together_return_apart(
        self, receiver: Receiver, sink: WebhookBillingSink, clock: ManualClock
    ) -> None:
        outbox = Outbox([record(number) for number in range(1, 6)])
        for _ in range(5):
            receiver.says(500)
        await run_round(outbox, sink, clock)
        assert len(set(outbox.due_at.values())) == 5

    async def test_the_time_a_receiver_asks_for_is_added_to_the_schedule(
        self, receiver: Receiver, sink: WebhookBillingSink, clock: ManualClock
    ) -> None:
        outbox = Outbox([record(1)])
        receiver.says(429, Retry_After="3600")
        await run_round(outbox, sink, clock)
        assert outbox.due_at[RecordId("record-1")] >= NOW + timedelta(hours=1)


class FixedResolver(AbstractResolver):
    """A look-up that the test sets."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self.addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


class TestAddress:
    @pytest.mark.parametrize(
        ("url", "private", "fix"),
        [
            pytest.param("ftp://billing.example/x", True, "for example https://host/path", id="no HTTP"),
            pytest.param("billing.example", False, "for example https://host/path", id="no scheme"),
            pytest.param("https://[::1", False, "for example https://host/path", id="malformed"),
            pytest.param("http://billing.example/x", False, "use https", id="in the clear over the internet"),
            pytest.param("https://127.0.0.1/x", False, "public address", id="this computer"),
            pytest.param("https://10.1.2.3/x", False, "public address", id="private network"),
            pytest.param("https://[fe80::1]/x", False, "public address", id="link-local"),
            pytest.param("https://169.254.169.254/x", False, "public address", id="cloud metadata"),
        ],
    )
    def test_an_address_that_must_not_be_sent_to_is_refused(self, url: str, private: bool, fix: str) -> None:
        with pytest.raises(InvalidConfiguration, match=fix):
            WebhookBillingSink(url, [SECRET], ManualClock(NOW), allow_private_address=private)

    @pytest.mark.parametrize(
        ("url", "private"),
        [("https://billing.example/x", False), ("https://93.184.216.34/x", False), ("http://10.1.2.3:8080/x", True)],
    )
    def test_other_addresses_are_taken(self, url: str, private: bool) -> None:
        WebhookBillingSink(url, [SECRET], ManualClock(NOW), allow_private_address=private)

    async def test_a_name_resolves_to_public_addresses_only(self) -> None:
        resolver = PublicAddressResolver(FixedResolver("192.168.0.7", "93.184.216.34", "fe80::1%eth0"))
        assert [entry["host"] for entry in await resolver.resolve("billing.example", 443)] == ["93.184.216.34"]
        await resolver.close()

    async def test_a_name_of_the_private_network_is_not_sent_to(self) -> None:
        async with WebhookBillingSink("https://localhost:9/x", [SECRET], ManualClock(NOW)) as sink:
            with pytest.raises(ReceiverUnreachable, match="localhost has no public address"):
                await sink.deliver(record())


class TestSecrets:
    @pytest.mark.parametrize(
        "secret",
        [
            pytest.param("", id="empty"),
            pytest.param(SECRET.removeprefix("whsec_"), id="without prefix"),
            pytest.param("whsec_" + base64.b64encode(b"short").decode(), id="too short"),
            pytest.param("whsec_" + base64.b64encode(bytes(65)).decode(), id="too long"),
            pytest.param("whsec_not base64 at all, but long enough", id="not base64"),
        ],
    )
    def test_a_weak_or_malformed_secret_is_refused_without_being_shown(self, secret: str) -> None:
        with pytest.raises(InvalidConfiguration, match=r"billing_webhook\.secret") as caught:
            WebhookSigner([secret])
        assert not secret or secret not in str(caught.value)

    def test_no_secret_is_refused(self) -> None:
        with pytest.raises(InvalidConfiguration, match=r"billing_webhook\.secret = None"):
            WebhookSigner([])
