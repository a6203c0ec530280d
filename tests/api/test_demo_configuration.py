"""The files that the demo writes are a configuration like any other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.composition import planned_site
from api.config import load_configuration
from api.demo_configuration import DemoFolder, write_demo
from connectors.prices.tariff_files import read_tariff
from optimizer.errors import InvalidDataFile, InvalidInput
from scenarios.garage import garage_day, garage_site


def _written(folder: Path, prices: Path | None = None) -> DemoFolder:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return write_demo(folder, garage_day(), speed=480, wall_start=start, ports=(8080, 9000), prices_file=prices)


def _hourly_prices(path: Path, hours: int) -> Path:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    rows = [f"{(start + timedelta(hours=hour)).isoformat()},{40 + hour}" for hour in range(hours)]
    path.write_text("\n".join(["timestamp,price_eur_per_mwh", *rows]) + "\n")
    return path


def test_the_service_accepts_it_and_sees_the_same_site(tmp_path: Path) -> None:
    site = planned_site(load_configuration(_written(tmp_path).configuration))
    constructed = garage_site(garage_day().sessions, 100.0, 30.0)
    assert site.evses == constructed.evses
    assert site.circuits == constructed.circuits
    assert len(site.stations) == 36


@pytest.mark.parametrize("hours", [24 * 8, 48, 40], ids=["a week", "two days", "hardly enough"])
def test_day_ahead_prices_of_another_year_take_the_tariffs_place(tmp_path: Path, hours: int) -> None:
    written = _written(tmp_path / "demo", _hourly_prices(tmp_path / "prices.csv", hours))
    configuration = load_configuration(written.configuration)
    assert planned_site(configuration).currency == "EUR"
    tariff = read_tariff(configuration.tariff.file)
    assert tariff.market_priced
    assert "taken for 2019-08-28" in tariff.name
    assert [str(charge.price_per_kw) for charge in tariff.demand_charges] == ["15.51"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("timestamp,price_eur_per_mwh\n2026-03-01T00:00:00Z,40\n2026-03-01T01:00:00Z,41\n", InvalidDataFile),
        ("timestamp,price\n2026-03-01T00:00:00Z,40\n", InvalidInput),
    ],
    ids=["two hours only", "no unit"],
)
def test_unusable_prices_are_named(tmp_path: Path, content: str, error: type[InvalidInput]) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(content)
    with pytest.raises(error, match=r"prices\.csv"):
        _written(tmp_path / "demo", path)
