"""What each plan follows from, on both databases: kept with the plan, read back equal, let go with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

from recorded_steps import recorded_morning
from sqlalchemy import Connection, func, select

from connectors.storage import open_stores
from connectors.storage.codec import StepGround, StoredStep, step_text
from connectors.storage.database import database_url, upgrade, writing_lane
from connectors.storage.plan_store import DatabasePlanStore, RecordedStep
from connectors.storage.stores import plans_for_reading
from connectors.storage.tables import CONTROL_GROUND, CONTROL_STEP
from optimizer.domain.ids import PlanId, SiteId
from scenarios.record import plan_again

GARAGE = SiteId("caltech-garage")


async def kept(url: str, steps: tuple[RecordedStep, ...], kept_plans: int) -> None:
    async with await open_stores(url, kept_plans=kept_plans) as stores:
        for step in steps:
            await stores.plans.save_outcome(step.outcome, step.trigger, step.seen)


async def all_of(plans: DatabasePlanStore) -> list[RecordedStep | None]:
    first = recorded_morning()[0].seen.snapshot.at
    ids = await plans.recorded_plans(GARAGE, first, first + timedelta(days=1))
    return [await plans.recorded_step(plan_id) for plan_id in ids]


def count(table: object, connection: Connection) -> int:
    found = connection.execute(select(func.count()).select_from(table)).scalar_one()  # type: ignore[arg-type]
    assert isinstance(found, int)
    return found


async def on(url: str, work: Callable[[Connection], int]) -> int:
    lane = writing_lane(database_url(url))
    try:
        return await lane.run(work)
    finally:
        await lane.close()


async def test_steps_read_back_equal_and_plan_the_same(new_database: str) -> None:
    steps = recorded_morning()
    await kept(new_database, steps, 100)
    async with plans_for_reading(new_database) as plans:
        found = await all_of(plans)
    assert tuple(found) == steps
    last = found[-1]
    assert last is not None
    assert plan_again(last).is_same


async def test_a_time_is_asked_for_by_its_first_instant_and_the_first_after(new_database: str) -> None:
    steps = recorded_morning()
    await kept(new_database, steps, 100)
    third, sixth = steps[2].seen.snapshot.at, steps[5].seen.snapshot.at
    async with plans_for_reading(new_database) as plans:
        ids = await plans.recorded_plans(GARAGE, third, sixth)
        elsewhere = await plans.recorded_plans(SiteId("elsewhere"), third, sixth)
    assert ids == tuple(step.outcome.plan.id for step in steps[2:5])
    assert elsewhere == ()


async def test_old_steps_go_with_their_plans(new_database: str) -> None:
    steps = recorded_morning()
    await kept(new_database, steps, 4)
    assert await on(new_database, partial(count, CONTROL_STEP)) == 4
    async with plans_for_reading(new_database) as plans:
        found = await all_of(plans)
        assert await plans.recorded_step(PlanId("unknown")) is None
    # Of the oldest one the plan before it is gone, so it cannot be planned again.
    assert found == [None, *steps[-3:]]


async def test_what_steps_share_is_kept_once_and_goes_with_the_last_of_them(new_database: str) -> None:
    steps = recorded_morning()
    later = tuple(replace(step, seen=replace(step.seen, ground=f"{step.seen.ground} ")) for step in steps[6:])
    await kept(new_database, (*steps[:6], *later), 4)
    assert await on(new_database, partial(count, CONTROL_GROUND)) == 2
    # The first ground is let go when a third one comes, since no step of the first is left.
    last = replace(steps[-1].outcome.plan, id=PlanId("another"))
    step = replace(
        steps[-1], outcome=replace(steps[-1].outcome, plan=last), seen=replace(steps[-1].seen, ground="third")
    )
    await kept(new_database, (step,), 4)
    assert await on(new_database, partial(count, CONTROL_GROUND)) == 2


async def test_a_plan_of_which_nothing_is_recorded_is_no_step(new_database: str) -> None:
    first, second, *_ = recorded_morning()
    await upgrade(database_url(new_database))
    await kept(new_database, (first,), 100)
    async with await open_stores(new_database) as stores:
        await stores.plans.save_outcome(second.outcome, second.trigger)
        assert await all_of(stores.plans) == [first]


def test_a_bound_without_end_and_a_load_out_of_control_read_back_equal() -> None:
    seen = recorded_morning()[-1].seen
    limited = next(one for one in seen.snapshot.connectors if one.setpoint is not None)
    assert limited.setpoint is not None
    endless = replace(limited, setpoint=replace(limited.setpoint, bound_before_kw=float("inf")))
    others = tuple(one for one in seen.snapshot.connectors if one.evse_id != limited.evse_id)
    snapshot = replace(seen.snapshot, connectors=(endless, *others))
    changed = replace(seen, snapshot=snapshot, fixed_kw={limited.evse_id: 0.1 + 0.2})
    stored = StoredStep.of(step_text(changed))
    assert stored.seen(StepGround.of(changed), snapshot.previous_plan) == changed
