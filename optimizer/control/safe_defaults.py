"""The limit that each EVSE holds when nobody tells it anything: together they are safe for the whole site."""

from __future__ import annotations

from optimizer.control.ceilings import BaseLoad, Feeder, LoadPaths, LoadTally, standing_ceilings
from optimizer.domain.ids import EvseId
from optimizer.domain.site import Site
from optimizer.errors import InvalidConfiguration


def safe_defaults_kw(site: Site, *, deal_all: bool = False) -> dict[EvseId, float]:
    """Share every limit, less the greatest building load, over all EVSEs of a site.

    When every station is blind the sum keeps every circuit's limit on every phase, with no help from PV. Each EVSE, in
    the order of the stations, gets its least current where that fits, or its greatest where all fit at their greatest.
    More in between would only be kept free for idle EVSEs, day after day, for the hour without the service.

    Args:
        site: The site.
        deal_all: Deal out what is left beyond the least currents all the same, step by step.

    Returns:
        Power at the permitted current on all of the EVSE's current paths [kW].

    Raises:
        InvalidConfiguration: A limit does not even carry the greatest building load; the text names circuit and fix.
    """
    building_kw = site.greatest_building_kw
    per_phase_a = building_kw * 1000.0 / (3.0 * site.phase_voltage_v)
    base = BaseLoad(building_kw, building_kw, (per_phase_a, per_phase_a, per_phase_a))
    feeders = {evse_id: Feeder(evse) for evse_id, evse in site.evses.items()}
    tally = LoadTally(LoadPaths.of(site, standing_ceilings(site, base), feeders), {})
    for ceiling in tally.exceeded():
        raise InvalidConfiguration(
            f"circuits.{ceiling.circuit_id}",
            str(ceiling),
            f"the greatest building load of {building_kw:g} kW ({per_phase_a:.1f} A a phase) alone exceeds it: "
            "raise the limit or correct greatest_building_kw",
            where=f"site {site.id}",
        )
    if not _deal_greatest_current(tally):
        _deal_least_current(tally)
        if deal_all:
            _deal_the_rest(tally)
    return {evse_id: site.evses[evse_id].power_kw(level_a) for evse_id, level_a in tally.levels_a.items()}


def _deal_greatest_current(tally: LoadTally) -> bool:
    """Give every EVSE its greatest current; whether all limits carry that. Where not, none keeps it."""
    for evse_id, feeder in tally.feeders.items():
        tally.set_level(evse_id, feeder.stepped_a(feeder.evse.max_current_a))
    if not tally.exceeded():
        return True
    for evse_id in tally.feeders:
        tally.set_level(evse_id, 0.0)
    return False


def _deal_least_current(tally: LoadTally) -> None:
    for evse_id, feeder in tally.feeders.items():
        if feeder.stepped_a(tally.greatest_fit_a(evse_id)) > 0.0:
            tally.set_level(evse_id, _least_step_a(feeder))


def _least_step_a(feeder: Feeder) -> float:
    """The least current that is a whole number of steps [A]."""
    least_a = feeder.evse.min_current_a
    stepped_a = feeder.stepped_a(least_a)
    return stepped_a if stepped_a > 0.0 else feeder.stepped_a(least_a + feeder.evse.current_step_a)


def _deal_the_rest(tally: LoadTally) -> None:
    rising = [evse_id for evse_id, level_a in tally.levels_a.items() if level_a > 0.0]
    while rising:
        still_rising = []
        for evse_id in rising:
            step_a = max(tally.feeders[evse_id].evse.current_step_a, 1.0)
            raised_a = tally.feeders[evse_id].stepped_a(tally.levels_a[evse_id] + step_a)
            if tally.levels_a[evse_id] < raised_a <= tally.greatest_fit_a(evse_id) + 1e-9:
                tally.set_level(evse_id, raised_a)
                still_rising.append(evse_id)
        rising = still_rising
