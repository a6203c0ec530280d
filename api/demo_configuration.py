"""The configuration that the demo writes: that of any service, for the garage whose day is shipped.

A folder holds it all, so that the service can be stopped, started again and looked into with the ordinary commands.
"""

from __future__ import annotations

import csv
import json
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from api.auth import hash_of, new_key
from connectors.prices.price_files import moved_to_cover, read_prices
from optimizer.domain.series import PriceSeries
from optimizer.domain.site import Site
from optimizer.errors import InvalidDataFile, InvalidInput
from scenarios.garage import DAY_END, DAY_START, TIME_ZONE, GarageDay, garage_site

IMPORT_LIMIT_KW = 100.0
PV_PEAK_KW = 30.0
GREATEST_BUILDING_KW = 50.0
PEAK_HINT_KW = 61.7
"""Least peak with which all cars of 1 to 27 August 2019 could have been served beside this building and PV: a linear
programme over that garage's recorded sessions gives it, see the day's SOURCE.md."""
METER_INTERVAL_S = 300
DEMAND_PRICE_PER_KW = "15.51"
KNOWN_AHEAD = (timedelta(hours=36), timedelta(hours=12), timedelta(0))
"""How far past the day prices are wanted; what is not known then, the service fills in and says so."""
CONFIGURATION_FILE = "site.yaml"
LOOPBACK = "127.0.0.1"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """Where a demo's files are, and how to speak to its service."""

    folder: Path
    """The folder."""
    api_key: str
    """A key with the scope admin."""
    http_port: int
    """Where HTTP is answered."""
    ocpp_port: int
    """Where stations connect."""

    @property
    def configuration(self) -> Path:
        """The configuration file."""
        return self.folder / CONFIGURATION_FILE

    @property
    def http_url(self) -> str:
        """Address of the HTTP API."""
        return f"http://{LOOPBACK}:{self.http_port}"

    @property
    def ocpp_url(self) -> str:
        """Address that stations put their id behind."""
        return f"ws://{LOOPBACK}:{self.ocpp_port}/ocpp"


def write_demo(
    folder: Path,
    day: GarageDay,
    *,
    speed: float,
    wall_start: datetime,
    ports: tuple[int, int],
    prices_file: Path | None = None,
    prices_zone: str | None = None,
) -> DemoFolder:
    """Write configuration, tariff and forecast files into ``folder``.

    Args:
        folder: Empty or new.
        day: The shipped day.
        speed: Seconds of the service's clock in one second of the wall.
        wall_start: When the day begins on the wall [UTC].
        ports: HTTP and OCPP.
        prices_file: Day-ahead prices instead of the time-of-use tariff; moved to the day where they are of another.
        prices_zone: Which of several zones in it.

    Raises:
        InvalidInput: The price file cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = new_key()
    demo = DemoFolder(folder, key, *ports)
    prices = _prices(prices_file, prices_zone) if prices_file is not None else None
    currency = prices.currency if prices is not None else "USD"
    _write_tariff(folder, day, prices)
    _write_building(folder, day)
    site = garage_site(day.sessions, IMPORT_LIMIT_KW, PV_PEAK_KW, GREATEST_BUILDING_KW)
    configuration = {
        "site": _site_section(site, currency),
        "tariff": {"file": "tariff.yaml"},
        **({"market_prices": {"source": "file", "file": "prices.csv"}} if prices is not None else {}),
        "forecasts": {"building_file": "building.csv"},
        "billing": {"window": "day", "day_begins": f"{DAY_START.astimezone(ZoneInfo(TIME_ZONE)):%H:%M}"},
        "storage": {"url": "sqlite:///chargehorizon.sqlite"},
        "ocpp": {
            "host": LOOPBACK,
            "port": demo.ocpp_port,
            "security_profile": 0,
            "behaviour": {"meter_interval_s": METER_INTERVAL_S},
        },
        "http": {
            "host": LOOPBACK,
            "port": demo.http_port,
            "api_keys": [{"name": "demo", "sha256": hash_of(key), "scopes": ["admin"]}],
        },
        "clock": {
            "kind": "accelerated",
            "simulated_start": DAY_START.isoformat(),
            "wall_start": wall_start.isoformat(),
            "speed": speed,
        },
        "control": {
            "peak_hint_kw": PEAK_HINT_KW,
            "meter_staleness_s": 600.0,
            "raise_reading_age_s": 600.0,
            "sample_staleness_s": 900.0,
        },
        # On a clock that runs so fast a plan that is proven better a second later comes minutes late. A third of this
        # garage's drivers leave before they said.
        "planning": {"time_limit_s": 1.0, "proof_time_s": 0.0, "departure_care": 1.0},
        "logging": {"level": "warning", "format": "console"},
    }
    demo.configuration.write_text(yaml.safe_dump(configuration, sort_keys=False), encoding="utf-8")
    return demo


def _site_section(site: Site, currency: str) -> Json:
    root = site.circuits[0]
    array = site.pv_arrays[0]
    evses = list(site.evses.values())
    return {
        "id": site.id,
        "name": site.name,
        "time_zone": site.time_zone,
        "currency": currency,
        "latitude_deg": site.latitude_deg,
        "longitude_deg": site.longitude_deg,
        "grid_connection": {
            "circuit_id": root.id,
            "import_limit_kw": site.grid_connection.import_limit_kw,
            "export_limit_kw": site.grid_connection.export_limit_kw,
        },
        "greatest_building_kw": site.greatest_building_kw,
        "circuits": [{"id": root.id, "limit_a": root.limit_a, "limit_kw": root.limit_kw}],
        "station_groups": [
            {
                "station_ids": [station.id for station in site.stations],
                "circuit_id": root.id,
                "max_current_a": evses[0].max_current_a,
                "voltage_v": evses[0].voltage_v,
                "wiring": evses[0].wiring.value,
                "phases_in_turn": [[phase.value for phase in evse.phases] for evse in evses[:3]],
            }
        ],
        "pv_arrays": [
            {
                "id": array.id,
                "peak_kw": array.peak_kw,
                "inverter_kw": array.inverter_kw,
                "tilt_deg": array.tilt_deg,
                "azimuth_deg": array.azimuth_deg,
            }
        ],
    }


def _write_tariff(folder: Path, day: GarageDay, prices: PriceSeries | None) -> None:
    if prices is None:
        shutil.copy(day.tariff_file, folder / day.tariff_file.name)
        tariff: Json = {
            "id": "sce-tou-ev-4",
            "format": "acn",
            "file": day.tariff_file.name,
            "time_zone": TIME_ZONE,
            "currency": "USD",
        }
    else:
        _write_prices(folder / "prices.csv", prices)
        tariff = {
            "id": "day-ahead",
            "name": f"day-ahead ({prices.source})",
            "currency": prices.currency,
            "time_zone": TIME_ZONE,
            "market_priced": True,
            "demand_charges": [{"name": "demand charge", "price_per_kw": DEMAND_PRICE_PER_KW}],
        }
    (folder / "tariff.yaml").write_text(yaml.safe_dump(tariff, sort_keys=False), encoding="utf-8")


def _prices(file: Path, zone: str | None) -> PriceSeries:
    """The file's prices, moved to the day, with as much of what follows as the file has."""
    series = read_prices(file, zone)
    for ahead in KNOWN_AHEAD:
        with suppress(InvalidInput):
            return moved_to_cover(series, DAY_START, DAY_END + ahead, TIME_ZONE)
    raise InvalidDataFile("(rows)", str(series.span), "give a whole day of prices from 07:00 on", where=str(file))


def _write_prices(path: Path, prices: PriceSeries) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["timestamp", f"price_{prices.currency.lower()}_per_kwh"])
        for start, price in zip(prices.boundaries, prices.prices_per_kwh, strict=False):
            writer.writerow([start.isoformat(), price])


def _write_building(folder: Path, day: GarageDay) -> None:
    """The load profile that a forecast may know: one day of the constructed expectation, by local time."""
    expected = day.expected_building
    quarters = len(expected.values_kw) // 3
    with (folder / "building.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["local_time", "workday_kw"])
        for number, value_kw in enumerate(expected.values_kw[:quarters]):
            writer.writerow([f"{number // 4:02d}:{number % 4 * 15:02d}", round(value_kw, 2)])


def remember(demo: DemoFolder) -> None:
    """Leave a note of the addresses and the key, for who wants to look into a demo that stays."""
    note = {"http": demo.http_url, "ocpp": demo.ocpp_url, "api_key": demo.api_key}
    path = demo.folder / "access.json"
    path.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    path.chmod(0o600)
