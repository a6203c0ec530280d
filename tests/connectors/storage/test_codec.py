"""Domain objects as text, and texts of earlier versions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from connectors.storage.codec import RECORD_JSON, SESSION_JSON, SETPOINT_JSON, JsonCodec, outcome_value
from connectors.storage.tables import CompressedText, ExactDecimal, UtcInstant
from optimizer.domain.charger import LimitPeriod, LimitState, Setpoint
from optimizer.domain.cost import CostComponent, CostLine
from optimizer.domain.ids import EvseId, SessionId, SiteId
from optimizer.domain.session import Session
from optimizer.errors import InvalidInput, StorageFailed

DIALECT = sqlite.dialect()
INSTANTS = st.datetimes(timezones=st.just(UTC))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@given(
    st.lists(st.tuples(INSTANTS, st.floats(allow_nan=False)), min_size=1, max_size=4), INSTANTS, st.text(), st.floats(0)
)
def test_a_setpoint_reads_back_equal(
    periods: list[tuple[datetime, float]], sent_at: datetime, reason: str, bound_before_kw: float
) -> None:
    limits = tuple(LimitPeriod(start, limit_kw) for start, limit_kw in periods)
    setpoint = Setpoint(EvseId("e"), limits, LimitState.SENT, sent_at, bound_before_kw=bound_before_kw, reason=reason)
    assert SETPOINT_JSON.value(SETPOINT_JSON.text(setpoint)) == setpoint


@given(st.decimals(allow_nan=False, allow_infinity=False), st.decimals(allow_nan=False, allow_infinity=False))
def test_money_reads_back_with_every_digit(quantity: Decimal, amount: Decimal) -> None:
    codec = JsonCodec(CostLine)
    line = codec.value(codec.text(CostLine(CostComponent.GRID_ENERGY, "band", quantity, amount)))
    assert (str(line.quantity), str(line.amount)) == (str(quantity), str(amount))
    column = ExactDecimal()
    stored = column.process_bind_param(amount, DIALECT)
    assert isinstance(stored, str)
    assert str(column.process_result_value(stored, DIALECT)) == str(amount)


@given(INSTANTS, INSTANTS)
def test_instants_are_exact_and_sort_as_time_does(one: datetime, other: datetime) -> None:
    column = UtcInstant()
    first, second = column.process_bind_param(one, DIALECT), column.process_bind_param(other, DIALECT)
    assert isinstance(first, int)
    assert isinstance(second, int)
    assert (first < second) == (one < other)
    assert column.process_result_value(first, DIALECT) == one


def test_a_naive_instant_is_refused() -> None:
    with pytest.raises(InvalidInput, match="UTC offset"):
        UtcInstant().process_bind_param(NOON.replace(tzinfo=None), DIALECT)


@given(st.text())
def test_compressed_text_reads_back_equal(text: str) -> None:
    column = CompressedText()
    assert column.process_result_value(column.process_bind_param(text, DIALECT), DIALECT) == text


def test_an_old_text_without_a_later_field_takes_its_default() -> None:
    (fields,) = json.loads(SESSION_JSON.text(Session(SessionId("s"), SiteId("d"), EvseId("e"), NOON, pauses=3)))
    del fields["pauses"]
    fields["a_field_of_another_version"] = 1
    assert SESSION_JSON.value(json.dumps([fields])).pauses == 0


def test_instants_of_other_zones_come_back_the_same_instant() -> None:
    session = Session(SessionId("s"), SiteId("d"), EvseId("e"), NOON.astimezone(timezone(timedelta(hours=9))))
    assert SESSION_JSON.value(SESSION_JSON.text(session)).plugged_in_at == NOON


@pytest.mark.parametrize("text", ["", "{}", "[]", '[{"id": "r"}]', "[null]"])
def test_a_text_that_is_not_of_the_type_is_a_storage_failure(text: str) -> None:
    with pytest.raises(StorageFailed, match="EnergyCostRecord cannot be read"):
        RECORD_JSON.value(text)


def test_a_plan_of_an_unknown_kind_is_a_storage_failure() -> None:
    with pytest.raises(StorageFailed, match="'guess'"):
        outcome_value("guess", "[]")
