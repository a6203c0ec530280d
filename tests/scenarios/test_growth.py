"""More chargers behind the same fuse: copied posts, real sessions of other weeks at the same local times."""

from __future__ import annotations

from collections import Counter
from zoneinfo import ZoneInfo

import pytest

from optimizer.errors import InvalidInput
from scenarios.growth import with_more_chargers
from scenarios.scenario import Scenario
from scenarios.whatif import load

ZONE = ZoneInfo("America/Los_Angeles")
MONTH = load("acn_caltech_2019_03")
# The clocks went forward on 10 March: the week after it is moved over the change.
WEEK = load("acn_caltech_2019_03", start="2019-03-04", days=5)


def grown(times: int, days: int = 5) -> Scenario:
    part = load("acn_caltech_2019_03", start="2019-03-04", days=days)
    return with_more_chargers(MONTH, part.start, part.end, times)


def test_once_is_the_scenario_itself() -> None:
    once = grown(1)
    assert {stay.id: stay for stay in once.stays} == {stay.id: stay for stay in WEEK.stays}
    assert once.site == WEEK.site


def test_the_second_group_lives_a_week_later_at_the_same_local_times() -> None:
    second = [stay for stay in grown(2).stays if stay.id.endswith("~2")]
    later = {stay.id: stay for stay in load("acn_caltech_2019_03", start="2019-03-11", days=5).stays}
    assert {stay.id.removesuffix("~2") for stay in second} == set(later)
    for stay in second:
        origin = later[stay.id.removesuffix("~2")]
        there, then = (one.session.arrived_at.astimezone(ZONE) for one in (stay, origin))
        assert (there.time(), there.weekday()) == (then.time(), then.weekday())
        assert stay.session.delivered_kwh == origin.session.delivered_kwh
        assert stay.told[0].targets[0].depart_at.astimezone(ZONE).time() == (
            origin.told[0].targets[0].depart_at.astimezone(ZONE).time()
        )


def test_every_group_has_posts_of_its_own_on_the_same_circuits() -> None:
    site = grown(3).site
    assert len(site.evses) == 3 * len(WEEK.site.evses)
    assert Counter(evse.phases for evse in site.evses.values()) == {
        phases: 3 * count for phases, count in Counter(evse.phases for evse in WEEK.site.evses.values()).items()
    }
    assert site.circuits == WEEK.site.circuits
    assert {stay.evse_id for stay in grown(3).stays} <= set(site.evses)


def test_no_stay_comes_twice() -> None:
    origins = [stay.id.partition("~")[0] for stay in grown(4).stays]
    assert len(origins) == len(set(origins))


@pytest.mark.parametrize(("times", "days"), [(0, 5), (5, 5), (2, 8)], ids=["none", "too many", "more than a week"])
def test_what_the_recording_does_not_hold_is_refused(times: int, days: int) -> None:
    with pytest.raises(InvalidInput):
        grown(times, days=days)
