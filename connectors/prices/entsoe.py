"""Day-ahead prices live from the ENTSO-E Transparency Platform, asked through entsoe-py.

entsoe-py knows the areas and forms the request; its answer is read by `entsoe_xml`, like a recorded one. Its client is
synchronous, so each request runs in a thread. What a response is worth is decided in a hook of the HTTP session, before
entsoe-py looks at it: that way no error text with the API key inside its URL is ever made.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pandas as pd
import requests
from entsoe.entsoe import EntsoeRawClient
from entsoe.exceptions import NoMatchingDataError
from entsoe.mappings import lookup_area

from connectors.prices.entsoe_xml import COUPLED_AUCTION, parse_entsoe_answer
from connectors.prices.price_files import cut
from optimizer.domain.series import PriceSeries
from optimizer.errors import InvalidConfiguration, InvalidDataFile, SourceUnavailable

HOUR = timedelta(hours=1)


class EntsoePriceSource:
    """A `PriceSource` of one bidding zone.

    Args:
        api_key: Key of the Transparency Platform.
        area: entsoe-py's name of the bidding zone, for example ``DE_LU``, or its EIC code.
        sequence: Which auction; 1 is the coupled European one.
        timeout_s: Time given to one request [s].
        session: HTTP session to use, for tests and proxies.

    Raises:
        InvalidConfiguration: The key is empty or the area unknown.
    """

    def __init__(
        self,
        api_key: str,
        area: str,
        *,
        sequence: int = COUPLED_AUCTION,
        timeout_s: int = 30,
        session: requests.Session | None = None,
    ) -> None:
        if not api_key.strip():
            fix = "give the key that the Transparency Platform issued for your account"
            raise InvalidConfiguration("entsoe.api_key", "", fix)
        try:
            self._area = lookup_area(area)
        except (KeyError, ValueError) as error:
            fix = "name a bidding zone as entsoe-py does, for example DE_LU, DK_1 or BE"
            raise InvalidConfiguration("entsoe.area", area, fix) from error
        self._sequence = sequence
        session = session or requests.Session()
        session.hooks["response"].append(_refuse_error_answer)
        # One try only and no pause in the thread: TariffBook decides when to ask again.
        self._client = EntsoeRawClient(api_key, session=session, retry_count=1, retry_delay=0, timeout=timeout_s)

    async def prices(self, start: datetime, end: datetime) -> PriceSeries:
        """Prices of ``[start, end)`` as far as they are published.

        Raises:
            SourceUnavailable: No usable answer, or none that covers ``start``.
        """
        xml_text = await asyncio.to_thread(self._ask, start, end)
        try:
            series = parse_entsoe_answer(xml_text, f"ENTSO-E {self._area.name}", self._sequence)
        except InvalidDataFile as error:
            raise SourceUnavailable(str(error)) from error
        if not series.span.contains(start):
            raise SourceUnavailable(f"{series.source}: no price published for {start.isoformat()}")
        return cut(series, start, end)

    def _ask(self, start: datetime, end: datetime) -> str:
        try:
            # All auctions are asked for: not every zone numbers its own, and the parser chooses anyway.
            answer: str = self._client.query_day_ahead_prices(
                self._area.name,
                start=pd.Timestamp(start).floor("h"),
                end=pd.Timestamp(max(end, start + HOUR)).ceil("h"),
            )
        except NoMatchingDataError as error:
            raise SourceUnavailable(f"ENTSO-E {self._area.name}: nothing published from {start.isoformat()}") from error
        except requests.RequestException as error:
            # The chain would carry the request's URL, and with it the API key, into logs.
            raise SourceUnavailable(f"ENTSO-E {self._area.name}: no answer ({type(error).__name__})") from None
        return answer


def _refuse_error_answer(response: requests.Response, *_args: object, **_settings: object) -> None:
    """Hook of the session; entsoe-py never sees an answer that this refuses."""
    if response.status_code in (401, 403):
        raise SourceUnavailable("ENTSO-E does not accept the API key; check the setting entsoe.api_key")
    if response.status_code == 429:
        raise SourceUnavailable("ENTSO-E: too many requests; asked again later")
    if not response.ok and "No matching data found" not in response.text:
        raise SourceUnavailable(f"ENTSO-E answered HTTP {response.status_code}")
    if "No matching data found" in response.text:
        raise SourceUnavailable("ENTSO-E: nothing published for this time")
