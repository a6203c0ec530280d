"""The service learns from the sessions in its store how far stated departures can be trusted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from api.departures import DepartureLearner
from connectors.storage.stores import DatabaseStores, open_stores
from optimizer.domain.ids import EvseId, SessionId, SiteId, TokenId
from optimizer.domain.session import DepartureTarget, Session
from optimizer.planning.departures import DepartureRecord
from optimizer.planning.settings import PlanningSettings

GARAGE = SiteId("garage")
CAREFUL = PlanningSettings(departure_care=1.0)


@pytest.fixture
async def stores(tmp_path: Path, site: Any, hand_clock: Any) -> AsyncIterator[DatabaseStores]:
    async with await open_stores(f"sqlite:///{tmp_path}/garage.db", [site], wall_clock=hand_clock) as opened:
        yield opened


def stay(number: int, clock: Any, *, stayed_h: float | None) -> Session:
    """A stay of four stated hours."""
    begun = clock.now() - timedelta(days=30) + timedelta(hours=number)
    ended = None if stayed_h is None else begun + timedelta(hours=stayed_h)
    targets = (DepartureTarget(begun + timedelta(hours=4), energy_kwh=9.0),)
    return Session(SessionId(f"s{number:03}"), GARAGE, EvseId("A"), begun, unplugged_at=ended, targets=targets)


async def test_every_stay_counts_once_as_soon_as_it_has_ended(
    stores: DatabaseStores, hand_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.departures.PAGE", 3)
    learner, known = DepartureLearner(stores.sessions, GARAGE, CAREFUL), DepartureRecord(CAREFUL.stay_curve)
    stays = [stay(number, hand_clock, stayed_h=None if number == 4 else 2.0) for number in range(10)]
    for one in stays:
        await stores.sessions.save_session(one)
        known.note(one)
    await learner.learn()
    assert known.count == 9
    assert learner.settings == replace(CAREFUL, stay_curve=known.curve())
    await learner.learn()
    assert learner.settings.stay_curve == known.curve()

    late = replace(stays[4], unplugged_at=stays[4].plugged_in_at + timedelta(hours=5))
    await stores.sessions.save_session(late)
    known.note(late)
    await learner.learn()
    await learner.learn()
    assert learner.settings.stay_curve == known.curve()


async def test_after_a_restart_the_same_is_known(stores: DatabaseStores, hand_clock: Any) -> None:
    for number in range(5):
        await stores.sessions.save_session(stay(number, hand_clock, stayed_h=1.0))
    before, after = (DepartureLearner(stores.sessions, GARAGE, CAREFUL) for _ in range(2))
    await before.learn()
    await after.learn()
    assert before.settings == after.settings != CAREFUL


async def test_what_drivers_usually_need_is_learnt_beside_it(stores: DatabaseStores, hand_clock: Any) -> None:
    for number in range(4):
        one = replace(stay(number, hand_clock, stayed_h=3.0), token_id=TokenId("anna"), energy_kwh=12.0)
        await stores.sessions.save_session(one)
    learner = DepartureLearner(stores.sessions, GARAGE, PlanningSettings())
    newcomer = replace(stay(9, hand_clock, stayed_h=None), token_id=TokenId("anna"), targets=())
    assert learner.habits.target(newcomer) is None
    await learner.learn()
    target = learner.habits.target(newcomer)
    assert target is not None
    assert (target.depart_at - newcomer.plugged_in_at, target.energy_kwh) == (timedelta(hours=3), 12.0)
    assert learner.settings == PlanningSettings(), "without care for early departures their curve stays as it is"
