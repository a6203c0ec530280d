"""Hands energy-cost records to a billing system by Standard Webhooks.

    POST url
    webhook-id: the record's id, by which the receiver drops repeats
    webhook-timestamp: seconds since 1970
    webhook-signature: v1,...
    {"type": "session.energy_cost.final", "timestamp": ..., "data": {the record}}

Only an answer of 200 to 299 counts as taken. Redirects are not followed. 410 ends all sending until the service is
started again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, urlsplit

import aiohttp

from connectors.billing.messages import message_body
from connectors.billing.public_addresses import PublicAddressResolver, is_public
from connectors.billing.signature import WebhookSigner
from optimizer.domain.cost import EnergyCostRecord
from optimizer.errors import DeliveryFailed, InvalidConfiguration, ReceiverGone, ReceiverUnreachable
from optimizer.ports import Clock

_LOG = logging.getLogger(__name__)

TIMEOUT_S = 15.0
LONGEST_RETRY_AFTER_S = 86_400.0
LONGEST_REASON_BYTES = 300


class WebhookBillingSink:
    """A `BillingSink` on HTTP; used as ``async with``, or closed by hand.

    Args:
        url: Address of the receiver.
        secrets: Signing secrets, ``whsec_...``; several while one is being replaced.
        clock: Time of the signature.
        timeout_s: Time the receiver has to answer [s of the wall].
        allow_private_address: Whether the receiver may stand in a private network, and be spoken to without TLS.

    Raises:
        InvalidConfiguration: Address or secret cannot be used.
    """

    def __init__(
        self,
        url: str,
        secrets: Sequence[str],
        clock: Clock,
        *,
        timeout_s: float = TIMEOUT_S,
        allow_private_address: bool = False,
    ) -> None:
        self._host = _checked_host(url, allow_private_address=allow_private_address)
        self._url = url
        self._signer = WebhookSigner(secrets)
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._allow_private_address = allow_private_address
        self._http: aiohttp.ClientSession | None = None
        self._gone = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def deliver(self, record: EnergyCostRecord) -> None:
        """Hand over one record.

        Raises:
            DeliveryFailed: It was not taken; try again later.
            ReceiverUnreachable: Nobody answered in time.
            ReceiverGone: The receiver asked never to be sent one again.
        """
        if self._gone:
            raise ReceiverGone(f"{self._host} answered 410 Gone; nothing is sent until the service starts again")
        body = message_body(record)
        try:
            async with self._session().post(
                self._url, data=body, headers=self._headers(record, body), allow_redirects=False
            ) as answer:
                await self._check(answer)
        except TimeoutError as error:
            raise ReceiverUnreachable(f"{self._host} did not answer within {self._timeout.total:g} s") from error
        except aiohttp.ClientError as error:
            raise ReceiverUnreachable(f"{self._host} cannot be reached: {error}") from error

    def _headers(self, record: EnergyCostRecord, body: bytes) -> dict[str, str]:
        timestamp_s = int(self._clock.now().timestamp())
        return {
            "content-type": "application/json",
            "webhook-id": record.id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": self._signer.signature(record.id, timestamp_s, body),
        }

    def _session(self) -> aiohttp.ClientSession:
        """The connections, opened at the first record: a session belongs to the loop it is made in."""
        if self._http is None:
            resolver = None if self._allow_private_address else PublicAddressResolver()
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver),
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"user-agent": "chargehorizon"},
            )
        return self._http

    async def _check(self, answer: aiohttp.ClientResponse) -> None:
        """Raise unless the record was taken."""
        if 200 <= answer.status < 300:
            return
        if answer.status == 410:
            self._gone = True
            _LOG.error("%s answered 410 Gone: no records are sent until the service starts again", self._host)
            raise ReceiverGone(f"{self._host} answered 410 Gone")
        if 300 <= answer.status < 400:
            raise DeliveryFailed(f"{self._host} redirects (HTTP {answer.status}); give its final address")
        reason = (await answer.content.read(LONGEST_REASON_BYTES)).decode("utf-8", "replace").strip()
        wait_s = self._retry_after_s(answer) if answer.status in (429, 503) else None
        raise DeliveryFailed(
            f"{self._host} answered HTTP {answer.status}{': ' if reason else ''}{reason}", retry_after_s=wait_s
        )

    def _retry_after_s(self, answer: aiohttp.ClientResponse) -> float | None:
        """How long the receiver asks to be left alone, a day at most [s]."""
        text = answer.headers.get("Retry-After", "").strip()
        if text.isdecimal():
            wait_s = float(text)
        elif (until := _http_date(text)) is not None:
            wait_s = (until - self._clock.now()).total_seconds()
        else:
            return None
        return min(max(wait_s, 0.0), LONGEST_RETRY_AFTER_S)


def _http_date(text: str) -> datetime | None:
    try:
        instant = parsedate_to_datetime(text)
    except ValueError:
        return None
    return instant if instant.tzinfo is not None else None


def _checked_host(url: str, *, allow_private_address: bool) -> str:
    """The host of an address that records may be sent to."""
    address = _split(url)
    if address is None or address.scheme not in ("https", "http") or not address.hostname:
        raise InvalidConfiguration("billing_webhook.url", url, "give an address, for example https://host/path")
    if not allow_private_address and address.scheme != "https":
        fix = "use https, or set allow_private_address where the receiver stands in your own network"
        raise InvalidConfiguration("billing_webhook.url", url, fix)
    # A name is looked at when it is resolved; a literal address never is.
    if not allow_private_address and _is_literal(address.hostname) and not is_public(address.hostname):
        fix = "give a public address, or set allow_private_address"
        raise InvalidConfiguration("billing_webhook.url", url, fix)
    return address.hostname


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _is_literal(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
