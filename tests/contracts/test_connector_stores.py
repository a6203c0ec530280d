"""What every implementation of the connector store must do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from store_cases import (
    DEPOT,
    EVSE,
    OTHER_EVSE,
    SETPOINT,
    STATION,
    at,
    sample_at,
    session_of,
)

from optimizer.domain.charger import (
    ConnectorReported,
    ConnectorStatus,
    LimitState,
    StationBooted,
    StationHabits,
    TransactionBegun,
)
from optimizer.domain.evolving import changed_between
from optimizer.domain.ids import (
    EvseId,
    SessionId,
    SiteId,
    StationId,
    TokenId,
)
from optimizer.domain.metering import SampleQuality
from optimizer.domain.snapshot import Occupancy
from optimizer.errors import NotFound
from optimizer.ports import Stores

CHARGING = ConnectorReported(STATION, 1, ConnectorStatus.CHARGING, at(8))
BEGINNING = TransactionBegun(STATION, 1, at(8), TokenId("token"), None, Decimal(1))

STEPS: dict[str, Callable[[Stores], Awaitable[object]]] = {
    "a vehicle comes": lambda stores: stores.sessions.save_session(session_of("one")),
    "it is reported": lambda stores: stores.connectors.save_status(CHARGING),
    "its transaction begins": lambda stores: stores.sessions.open_transaction(BEGINNING, session_of("one")),
    "it is told a limit": lambda stores: stores.connectors.save_setpoint(SETPOINT),
    "a safe default is installed": lambda stores: stores.connectors.save_safe_default(EVSE, 4.14),
    "it is metered": lambda stores: stores.meters.add_samples([sample_at(9)], [SessionId("one")]),
    "what was metered changes it": lambda stores: stores.meters.add_samples(
        [sample_at(10)], [SessionId("one")], [replace(session_of("one"), energy_kwh=2.0)]
    ),
    "another one is left open there": lambda stores: stores.sessions.save_session(session_of("two", plugged_in=9.0)),
    "one comes beside it that was plugged in before": lambda stores: stores.sessions.save_session(
        session_of("three", plugged_in=7.0, evse_id=OTHER_EVSE)
    ),
    "the other one leaves": lambda stores: stores.sessions.save_session(
        replace(session_of("two", plugged_in=9.0), unplugged_at=at(11))
    ),
    "it leaves": lambda stores: stores.sessions.save_session(replace(session_of("one"), unplugged_at=at(12))),
    "nothing new is said": lambda stores: stores.connectors.save_status(CHARGING),
}
"""What changes the occupancy of a site, one after the other."""


async def check_occupancy(stores: Stores) -> Occupancy:
    """The occupancy, when it was found to say the same as everything else."""
    found = await stores.connectors.occupancy(DEPOT)
    assert found.sessions == await stores.sessions.sessions(DEPOT, active_only=True)
    assert found.session_at == {session.evse_id: session for session in found.sessions}
    assert list(found.connectors) == [EVSE, OTHER_EVSE]
    for evse_id, connector in found.connectors.items():
        assert await stores.connectors.connector(DEPOT, evse_id) == connector
    for session in found.sessions:
        assert await stores.sessions.session(session.id) == session
    return found


class TestOccupancy:
    async def test_it_follows_every_write(self, stores: Stores) -> None:
        before = await check_occupancy(stores)
        for name, step in STEPS.items():
            await step(stores)
            after = await check_occupancy(stores)
            for told, known in ((after.connectors, before.connectors), (after.session_at, before.session_at)):
                differing = {key for key in {*told, *known} if told.get(key) is not known.get(key)}  # type: ignore[call-overload]
                assert differing == set(changed_between(known, told) or ()), name  # type: ignore[misc]
            assert (after != before) == (name != "nothing new is said"), name
            before = after

    async def test_all_that_is_written_between_two_looks_is_seen(self, stores: Stores) -> None:
        await check_occupancy(stores)
        for step in STEPS.values():
            await step(stores)
        found = await check_occupancy(stores)
        assert [session.id for session in found.sessions] == ["three"]
        assert found.connectors[EVSE].setpoint == SETPOINT

    async def test_a_block_sees_what_it_wrote_and_nobody_after_it_what_it_took_back(self, stores: Stores) -> None:
        await stores.sessions.save_session(session_of("one"))
        before = await check_occupancy(stores)

        async def take_back() -> None:
            async with stores.together():
                await stores.connectors.save_setpoint(SETPOINT)
                await stores.sessions.save_session(replace(session_of("one"), unplugged_at=at(9)))
                inside = await stores.connectors.occupancy(DEPOT)
                assert (inside.sessions, inside.connectors[EVSE].setpoint) == ((), SETPOINT)
                raise RuntimeError("never mind")

        with pytest.raises(RuntimeError, match="never mind"):
            await take_back()
        assert await check_occupancy(stores) == before

    async def test_an_unknown_site_is_not_found(self, stores: Stores) -> None:
        with pytest.raises(NotFound, match="nowhere"):
            await stores.connectors.occupancy(SiteId("nowhere"))


class TestConnectors:
    async def test_every_evse_of_the_site_is_told_before_it_reports(self, stores: Stores) -> None:
        connectors = await stores.connectors.connectors(DEPOT)
        assert [connector.evse_id for connector in connectors] == [EVSE, OTHER_EVSE]
        assert {connector.status for connector in connectors} == {ConnectorStatus.UNKNOWN}
        assert {connector.online for connector in connectors} == {False}
        assert {connector.setpoint for connector in connectors} == {None}

    async def test_one_evse_is_told_as_among_all(self, stores: Stores) -> None:
        await stores.connectors.save_status(ConnectorReported(STATION, 1, ConnectorStatus.CHARGING, at(8)))
        await stores.connectors.save_setpoint(SETPOINT)
        await stores.meters.add_samples([sample_at(8)], [None])
        first, second = await stores.connectors.connectors(DEPOT)
        assert await stores.connectors.connector(DEPOT, EVSE) == first
        assert await stores.connectors.connector(DEPOT, OTHER_EVSE) == second

    @pytest.mark.parametrize(
        ("site_id", "evse_id", "said"),
        [("depot", "depot-9/1", "depot-9/1"), ("office", EVSE, EVSE), ("nowhere", EVSE, "nowhere")],
        ids=["unknown EVSE", "EVSE of another site", "unknown site"],
    )
    async def test_an_evse_is_found_at_its_own_site_only(
        self, stores: Stores, site_id: str, evse_id: str, said: str
    ) -> None:
        with pytest.raises(NotFound, match=said):
            await stores.connectors.connector(SiteId(site_id), EvseId(evse_id))

    async def test_an_unknown_site_is_not_found(self, stores: Stores) -> None:
        with pytest.raises(NotFound, match="nowhere"):
            await stores.connectors.connectors(SiteId("nowhere"))

    @pytest.mark.parametrize(
        ("second_at", "expected"),
        [(9.0, ConnectorStatus.CHARGING), (8.0, ConnectorStatus.CHARGING), (7.999, ConnectorStatus.PREPARING)],
        ids=["newer", "same second, told later", "older, arrived late"],
    )
    async def test_the_newest_status_counts(self, stores: Stores, second_at: float, expected: ConnectorStatus) -> None:
        await stores.connectors.save_status(ConnectorReported(STATION, 1, ConnectorStatus.PREPARING, at(8)))
        await stores.connectors.save_status(
            ConnectorReported(STATION, 1, ConnectorStatus.CHARGING, at(second_at), "NoError")
        )
        first, second = await stores.connectors.connectors(DEPOT)
        assert first.status is expected
        assert second.status is ConnectorStatus.UNKNOWN

    async def test_setpoint_and_safe_default_are_kept_side_by_side(self, stores: Stores) -> None:
        await stores.connectors.save_safe_default(EVSE, 4.14)
        await stores.connectors.save_setpoint(replace(SETPOINT, state=LimitState.SENT, verified_at=None))
        await stores.connectors.save_setpoint(SETPOINT)
        await stores.connectors.save_safe_default(EVSE, None)
        assert (await stores.connectors.connector(DEPOT, EVSE)).safe_default_kw is None
        await stores.connectors.save_safe_default(EVSE, 0.0)
        first, second = await stores.connectors.connectors(DEPOT)
        assert (first.setpoint, first.safe_default_kw) == (SETPOINT, 0.0)
        assert (second.setpoint, second.safe_default_kw) == (None, None)

    async def test_the_newest_usable_sample_is_told(self, stores: Stores) -> None:
        newest = sample_at(10, register_kwh=Decimal("3.210"), quality=SampleQuality.DERIVED)
        samples = [
            sample_at(8),
            newest,
            sample_at(9),
            sample_at(11, quality=SampleQuality.SUSPECT),
            sample_at(12, quality=SampleQuality.STALE),
        ]
        await stores.meters.add_samples(samples, [None] * len(samples))
        await stores.meters.add_samples([sample_at(9.5)], [None])
        first, second = await stores.connectors.connectors(DEPOT)
        assert first.last_sample == newest
        assert second.last_sample is None

    async def test_the_last_boot_of_each_station_is_kept(self, stores: Stores) -> None:
        first = StationBooted(STATION, at(8), "1.6", "Maker", "Box", "1.0")
        habits = StationHabits(-95.25, tells_kwh_as_wh=True, register_offsets_kwh={2: Decimal("4995.0")})
        again = replace(first, at=at(9), firmware="1.1", habits=habits)
        other = StationBooted(StationId("depot-2"), at(8), "2.0.1")
        for event in (first, other, again):
            await stores.connectors.save_boot(event)
        assert await stores.connectors.station_boots() == {STATION: again, "depot-2": other}
