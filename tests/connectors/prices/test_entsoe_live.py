"""The live source: entsoe-py's request, our reading, translated errors, and no API key in any message."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from requests.adapters import BaseAdapter

from connectors.prices.entsoe import EntsoePriceSource
from connectors.prices.entsoe_xml import read_entsoe_answer
from optimizer.errors import InvalidConfiguration, SourceUnavailable

RECORDED = Path(__file__).parent / "recorded"
API_KEY = "0f5b-secret-key"
START = datetime(2024, 10, 6, 8, 7, tzinfo=UTC)


class Platform(BaseAdapter):
    """Stands for the Transparency Platform below the HTTP session."""

    def __init__(self, status: int, body: str, error: requests.RequestException | None = None) -> None:
        super().__init__()
        self.status, self.body, self.error = status, body, error
        self.asked: list[dict[str, str]] = []

    def send(self, request: requests.PreparedRequest, *_args: object, **_settings: object) -> requests.Response:
        self.asked.append({name: values[0] for name, values in parse_qs(urlsplit(str(request.url)).query).items()})
        if self.error is not None:
            raise self.error
        response = requests.Response()
        response.status_code = self.status
        response.url = str(request.url)
        response.request = request
        response.headers["content-type"] = "text/xml"
        response._content = self.body.encode()
        return response

    def close(self) -> None:
        """Nothing is open."""


def source_on(platform: Platform, area: str = "DE_LU") -> EntsoePriceSource:
    session = requests.Session()
    session.mount("https://", platform)
    return EntsoePriceSource(API_KEY, area, session=session)


async def test_prices_come_from_the_coupled_auction_and_start_with_the_interval_asked_for() -> None:
    platform = Platform(200, (RECORDED / "DE_60M_15M_overlap.xml").read_text())
    answer = await source_on(platform).prices(START, START + timedelta(hours=36))
    recorded = read_entsoe_answer(RECORDED / "DE_60M_15M_overlap.xml")
    assert answer.boundaries[0] == START.replace(minute=0)
    assert answer.span.end == datetime(2024, 10, 7, 21, tzinfo=UTC)
    assert answer.price_per_kwh_at(START) == recorded.price_per_kwh_at(START)


async def test_the_request_asks_for_whole_hours_around_the_time() -> None:
    platform = Platform(200, (RECORDED / "BE_60M.xml").read_text())
    start = datetime(2024, 10, 8, 8, 37, tzinfo=UTC)
    await source_on(platform, "BE").prices(start, start + timedelta(minutes=5))
    (asked,) = platform.asked
    assert asked["documentType"] == "A44"
    assert asked["in_Domain"] == asked["out_Domain"] == "10YBE----------2"
    assert (asked["periodStart"], asked["periodEnd"]) == ("202410080800", "202410081000")


NOTHING = "<Acknowledgement_MarketDocument><Reason><text>No matching data found</text></Reason></Acknowledgement_MarketDocument>"


def refusal(status: int, body: str = "", error: requests.RequestException | None = None) -> Platform:
    return Platform(status, body, error)


LEAKY_URL = f"https://web-api.tp.entsoe.eu/api?securityToken={API_KEY}"


@pytest.mark.parametrize(
    ("platform", "message"),
    [
        pytest.param(refusal(401, "<html>Unauthorized</html>"), "API key", id="wrong key"),
        pytest.param(refusal(429), "too many requests", id="too many requests"),
        pytest.param(refusal(503, "<html>down</html>"), "HTTP 503", id="platform down"),
        pytest.param(refusal(200, NOTHING), "nothing published", id="nothing published, status 200"),
        pytest.param(refusal(400, NOTHING), "nothing published", id="nothing published, status 400"),
        pytest.param(refusal(200, "<html>maintenance</html>"), "Publication_MarketDocument", id="a web page instead of an answer"),
        pytest.param(refusal(200, (RECORDED / "BE_60M.xml").read_text()), "no price published for 2024-10-06T08:07", id="another day answered"),
        pytest.param(refusal(0, error=requests.ConnectionError(f"cannot reach {LEAKY_URL}")), "ConnectionError", id="no network"),
        pytest.param(refusal(0, error=requests.Timeout(f"too slow {LEAKY_URL}")), "Timeout", id="too slow"),
    ],
)  # fmt: skip
async def test_failures_are_told_without_the_key(platform: Platform, message: str) -> None:
    with pytest.raises(SourceUnavailable, match=message) as caught:
        await source_on(platform).prices(START, START + timedelta(hours=4))
    assert len(platform.asked) == 1
    told = "".join(traceback.format_exception(caught.value))
    assert API_KEY not in told


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        pytest.param({"api_key": "  ", "area": "DE_LU"}, "entsoe.api_key", id="no key"),
        pytest.param({"api_key": API_KEY, "area": "ATLANTIS"}, "entsoe.area = 'ATLANTIS'", id="unknown area"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: Mapping[str, str], field: str) -> None:
    with pytest.raises(InvalidConfiguration, match=field):
        EntsoePriceSource(settings["api_key"], settings["area"])
