"""A scenario of a service's own past: a YAML file beside a record, and what is to be otherwise than it was.

    week.yaml ──names──> week.jsonl.gz       one step of control each: what was seen, what was decided
        │
        └─ strategy, planning, site, tariff   left out: as it was, and every plan comes out the same to the last bit

Each step is planned from what was seen then, so a difference is one of planning alone: what another plan would have
changed in the hours after it is not played on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from connectors.prices.tariff_files import read_tariff
from connectors.sections import FOLDER, first_of, read_sections, section_errors
from connectors.storage.plan_store import RecordedStep
from optimizer.control.demand import days_left
from optimizer.domain.series import PriceSeries
from optimizer.domain.site import Site
from optimizer.domain.snapshot import DemandState, SiteSnapshot
from optimizer.domain.tariff import Tariff
from optimizer.errors import InvalidDataFile, InvalidInput
from scenarios.foresight import priced_until
from scenarios.record import PlannedOn, StepComparison, changed_settings, ground_of, plan_again, read_record, steps_in
from scenarios.scenario_files import LOOK_AHEAD, NOTHING_CHANGED, RECORDED, market_of
from scenarios.scenario_sections import RecordFile
from scenarios.strategies import MILP, checked_strategy
from scenarios.variations import SHORT_NAMES, changes_in, with_changes

CHANGEABLE = ("strategy", "planning", "site", "tariff", "market_prices")
"""Sections by which a record is planned otherwise than it was."""
_SITE: TypeAdapter[Site] = TypeAdapter(Site)


@dataclass(frozen=True)
class RecordedScenario:
    """A record, and what is to be otherwise."""

    name: str
    """Short name."""
    path: Path
    """The file that it was read from."""
    record: Path
    """The record of the steps."""
    step_count: int
    """Steps in the record."""
    start: datetime | None = None
    """First instant [UTC]; ``None``: the first step's."""
    end: datetime | None = None
    """First instant after [UTC]; ``None``: after the last step."""
    strategy: str = MILP
    """What plans."""
    planning: Mapping[str, Any] = field(default_factory=dict)
    """Choices of the planner that are otherwise."""
    site_section: Mapping[str, Any] = field(default_factory=dict)
    """What of the site is otherwise, as the file says it."""
    site_changes: Mapping[str, Any] = field(default_factory=dict)
    """What of the site is otherwise, by dotted or short name."""
    tariff: Tariff | None = None
    """The other tariff, with its market prices."""

    @cached_property
    def time_zone(self) -> str:
        """The site's zone, by which days are counted."""
        first = next(read_record(self.record), None)
        return first.seen.snapshot.site.time_zone if first is not None else "UTC"

    @property
    def changed(self) -> dict[str, Any]:
        """What is to be otherwise, by name; empty: nothing."""
        named: dict[str, Any] = {} if self.strategy == MILP else {"strategy": self.strategy}
        named |= {f"planning.{name}": value for name, value in self.planning.items()}
        named |= {f"site.{name}": value for name, value in self.site_section.items()} | dict(self.site_changes)
        return named if self.tariff is None else named | {"tariff": self.tariff.id}

    def between(self, start: datetime | None, end: datetime | None) -> RecordedScenario:
        """The part of a time; ``None``: as it is."""
        return replace(self, start=start or self.start, end=end or self.end)

    def comparisons(self) -> Iterator[StepComparison]:
        """Each step of the time, planned again.

        Raises:
            InvalidInput: Something is to be otherwise that cannot be.
        """
        now_of = _Otherwise(self)
        for step in self.steps():
            yield plan_again(step, now_of(step))

    def steps(self) -> Iterator[RecordedStep]:
        """The steps of the time."""
        for step in read_record(self.record):
            at = step.seen.snapshot.at
            if self.end is not None and at >= self.end:
                return
            if self.start is None or at >= self.start:
                yield step


_WRITTEN = """\
# What a service saw and decided at each step, written by `chargehorizon record export`. Each plan is made again with
#     chargehorizon replay {file}
# and, with the same version, comes out the same to the last bit. What is given here is otherwise than it was:
#     strategy: least_laxity
#     planning: {{departure_care: 1.0}}
#     site: {{grid_connection: {{import_limit_kw: 60}}}}
#     tariff: {{file: other_tariff.yaml}}
name: {name}
description: {description}
recorded: {record}
"""


def write_scenario(path: Path, record: Path, site_name: str, span: str) -> None:
    """Write the file that names a record.

    Args:
        path: The YAML file.
        record: The record, in the same folder.
        site_name: Whose past it is.
        span: From when to when, for people.
    """
    texts = {"name": f"{site_name}, {span}"[:80], "description": f"What the service of {site_name} saw and decided."}
    quoted = {name: json.dumps(text, ensure_ascii=False) for name, text in texts.items()}
    written = _WRITTEN.format(file=path.name, record=json.dumps(record.name, ensure_ascii=False), **quoted)
    path.write_text(written, encoding="utf-8")


def is_record(path: Path) -> bool:
    """Whether a file of sections is one that names a record.

    Raises:
        InvalidDataFile: It is no file of sections.
    """
    if path.suffix == ".gz":
        fix = "give the scenario file that `chargehorizon record export` wrote beside it"
        raise InvalidDataFile("(file)", path.name, fix, where=str(path))
    return RECORDED in read_sections(path, InvalidDataFile, "start, end, site, tariff, sessions")


def load_recorded(path: Path, changes: Mapping[str, Any] = NOTHING_CHANGED) -> RecordedScenario:
    """Read a file that names a record.

    Args:
        path: The YAML file.
        changes: What is to be otherwise, by dotted or short name: ``{"site.limit_kw": 60}``.

    Raises:
        InvalidDataFile: The file or the record cannot be used.
        InvalidInput: A change cannot be made to a record.
    """
    for name, value in changes.items():
        if name not in SHORT_NAMES and name.partition(".")[0] not in CHANGEABLE:
            raise InvalidInput(name, value, f"of a record these can be otherwise: {', '.join(CHANGEABLE)}")
    of_site = {name: value for name, value in changes.items() if name in SHORT_NAMES or name.startswith("site")}
    others = {name: value for name, value in changes.items() if name not in of_site}
    content = with_changes(read_sections(path, InvalidDataFile, "name, recorded"), others, str(path))
    try:
        document = RecordFile.model_validate(content, context={FOLDER: path.parent})
    except ValidationError as error:
        raise first_of(section_errors(error, str(path), InvalidDataFile)) from error
    step_count = steps_in(document.recorded)
    if not step_count:
        raise InvalidDataFile(RECORDED, document.recorded.name, "give a record with at least one step", where=str(path))
    scenario = RecordedScenario(
        document.name,
        path,
        document.recorded,
        step_count,
        document.start.astimezone(UTC) if document.start is not None else None,
        document.end.astimezone(UTC) if document.end is not None else None,
        checked_strategy(document.strategy, "strategy"),
        document.planning,
        document.site,
        of_site,
    )
    scenario = replace(scenario, tariff=_tariff(document, scenario))
    # What cannot be otherwise is told before a long replay begins.
    _Otherwise(scenario)(next(read_record(document.recorded)))
    return scenario


def _tariff(document: RecordFile, scenario: RecordedScenario) -> Tariff | None:
    """The other tariff with the market prices of the record's time."""
    if document.tariff is None:
        if document.market_prices is not None:
            raise InvalidInput("market_prices", document.market_prices.file, "name the tariff that they come on top of")
        return None
    tariff = read_tariff(document.tariff.file)
    at = [step.seen.snapshot.at for step in scenario.steps()]
    market = market_of(document.market_prices, tariff, at[0], at[-1] + LOOK_AHEAD) if at else None
    return tariff if market is None else replace(tariff, market=market.prices)


class _Otherwise:
    """Tells for each step what it is planned on now; a site is worked out once for each that was recorded."""

    def __init__(self, scenario: RecordedScenario) -> None:
        self._scenario = scenario
        self._sites: list[tuple[Site, Site]] = []

    def __call__(self, step: RecordedStep) -> PlannedOn:
        scenario, snapshot = self._scenario, step.seen.snapshot
        settings = changed_settings(ground_of(step.seen).settings, scenario.planning)
        if scenario.site_section or scenario.site_changes:
            snapshot = replace(snapshot, site=self._site(snapshot.site))
        if scenario.tariff is not None:
            snapshot = priced_by(snapshot, scenario.tariff)
        return PlannedOn(snapshot, settings, scenario.strategy)

    def _site(self, recorded: Site) -> Site:
        for then, now in self._sites:
            if then == recorded:
                return now
        scenario = self._scenario
        now = altered_site(recorded, scenario.site_section, scenario.site_changes, str(scenario.path))
        self._sites.append((recorded, now))
        return now


# ---------------------------------------------------------------------- another site


def altered_site(recorded: Site, section: Mapping[str, Any], changes: Mapping[str, Any], where: str) -> Site:
    """A recorded site of which something is otherwise.

    Args:
        recorded: As it was.
        section: Fields that are otherwise, nested as in a configuration; entries of lists are found by their id.
        changes: The same by dotted or short name; entries of lists by number.
        where: The file, for faults.

    Raises:
        InvalidInput: A field that the site does not have, or a value that it cannot have.
    """
    # Without what a site remembers of its own fields.
    then = _SITE.dump_python(replace(recorded), mode="json")
    content = {"site": _merged(then, section, "site", where)}
    now = with_changes(content, changes_in(content, changes), where)["site"]
    _check_known(then, now, "site", where)
    try:
        return _SITE.validate_python(now)
    except ValidationError as error:
        wrong = section_errors(error, where, InvalidDataFile)[0]
        raise InvalidDataFile(f"site.{wrong.field}", wrong.value, wrong.fix, where=where) from error
    except InvalidInput as error:
        raise InvalidDataFile(f"site.{error.field}", error.value, error.fix, where=where) from error


def _merged(then: Any, given: Any, place: str, where: str) -> Any:
    if isinstance(then, dict) and isinstance(given, dict):
        return {
            **then,
            **{name: _merged(then.get(name), value, f"{place}.{name}", where) for name, value in given.items()},
        }
    named = isinstance(given, list) and isinstance(then, list) and all(_id_of(one) for one in [*given, *then])
    if not named:
        return given
    otherwise = {_id_of(one): one for one in given}
    known = [_id_of(one) for one in then]
    for name in otherwise:
        if name not in known:
            raise InvalidDataFile(f"{place}.id", name, f"name one of {', '.join(map(str, known))}", where=where)
    return [_merged(one, otherwise.get(_id_of(one), {}), f"{place}.{_id_of(one)}", where) for one in then]


def _id_of(entry: Any) -> Any:
    return entry.get("id") if isinstance(entry, dict) else None


def _check_known(then: Any, now: Any, place: str, where: str) -> None:
    """Refuse what the recorded site does not have: a field by another name, or a battery of which no state is known."""
    if isinstance(now, dict):
        if not isinstance(then, dict):
            fix = "the recorded site has none, so nothing is known of its state; change what it had"
            raise InvalidDataFile(place, now, fix, where=where)
        for name, value in now.items():
            if name not in then:
                fix = f"no such field; known here are {', '.join(then)}"
                raise InvalidDataFile(f"{place}.{name}", value, fix, where=where)
            _check_known(then[name], value, f"{place}.{name}", where)
    elif isinstance(now, list) and isinstance(then, list):
        for number, (before, after) in enumerate(zip(then, now, strict=False)):
            _check_known(before, after, f"{place}[{number}]", where)


# ---------------------------------------------------------------------- another tariff


def priced_by(snapshot: SiteSnapshot, tariff: Tariff) -> SiteSnapshot:
    """What was seen, under another tariff.

    A demand charge that counts the same intervals as a recorded one goes on from that one's peak; another one begins
    with the greatest peak that any had.

    Raises:
        InvalidInput: Its currency is another one.
    """
    if tariff.currency != snapshot.site.currency:
        raise InvalidInput("tariff", tariff.currency, f"give one in {snapshot.site.currency}, the currency of the site")
    start, end = snapshot.import_prices.boundaries[0], snapshot.import_prices.boundaries[-1]
    known = priced_until(tariff, start, end)
    return replace(
        snapshot,
        import_prices=known.import_prices(start, end),
        export_prices=PriceSeries(tariff.currency, (start, end), (tariff.export_price_per_kwh,), tariff.name),
        demand=_demand_under(tariff, snapshot),
    )


def _demand_under(tariff: Tariff, snapshot: SiteSnapshot) -> tuple[DemandState, ...]:
    held = {(state.charge.window, state.charge.interval_minutes): state for state in snapshot.demand}
    peak_so_far_kw = max((state.peak_so_far_kw for state in snapshot.demand), default=0.0)
    left = days_left(tariff, tariff.billing_month(snapshot.at).end, snapshot.at)
    return tuple(
        replace(held[charge.window, charge.interval_minutes], charge=charge)
        if (charge.window, charge.interval_minutes) in held
        else DemandState(charge, peak_so_far_kw, left)
        for charge in tariff.demand_charges
    )
