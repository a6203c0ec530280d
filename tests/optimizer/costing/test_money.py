from __future__ import annotations

import doctest
from decimal import ROUND_UP, Decimal, getcontext, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import optimizer.costing
from optimizer.costing import money
from optimizer.costing.money import apportioned, minor_unit, rounded
from optimizer.errors import InvalidInput

CENT = Decimal("0.01")
shares = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.decimals(min_value=-1000, max_value=1000, allow_nan=False, places=7),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("module", [optimizer.costing, money], ids=lambda module: module.__name__)
def test_worked_examples_come_out_as_printed(module: object) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0


@pytest.mark.parametrize(
    ("currency", "unit"),
    [("EUR", "0.01"), ("USD", "0.01"), ("SEK", "0.01"), ("JPY", "1"), ("KWD", "0.001"), ("CLF", "0.0001")],
)
def test_minor_units(currency: str, unit: str) -> None:
    assert str(minor_unit(currency)) == unit


@pytest.mark.parametrize(
    ("exact", "paid"),
    [("0.125", "0.12"), ("0.135", "0.14"), ("-0.125", "-0.12"), ("-0.135", "-0.14"), ("0.1250001", "0.13")],
    ids=["half to even, down", "half to even, up", "negative, down", "negative, up", "above half"],
)
def test_rounds_half_to_even(exact: str, paid: str) -> None:
    assert str(rounded(Decimal(exact), CENT)) == paid


def test_nothing_is_never_written_as_minus_zero() -> None:
    assert str(rounded(Decimal("-0.001"), CENT)) == "0.00"
    assert str(apportioned(Decimal("0.00"), {"a": Decimal("-0.0")}, CENT)["a"]) == "0.00"


class TestShares:
    @given(shares)
    @settings(deadline=None)
    def test_add_up_and_are_less_than_a_unit_off(self, exact: dict[str, Decimal]) -> None:
        total = rounded(sum(exact.values(), Decimal(0)), CENT)
        parts = apportioned(total, exact, CENT)
        assert sum(parts.values()) == total
        assert all(abs(parts[party] - exact[party]) < CENT for party in exact)

    @given(shares, st.randoms())
    @settings(deadline=None)
    def test_do_not_depend_on_order(self, exact: dict[str, Decimal], random: object) -> None:
        shuffled = list(exact.items())
        random.shuffle(shuffled)
        total = rounded(sum(exact.values(), Decimal(0)), CENT)
        assert apportioned(total, dict(shuffled), CENT) == apportioned(total, exact, CENT)

    @given(shares)
    @settings(deadline=None)
    def test_nothing_stays_nothing(self, exact: dict[str, Decimal]) -> None:
        exact["nobody"] = Decimal(0)
        total = rounded(sum(exact.values(), Decimal(0)), CENT)
        assert apportioned(total, exact, CENT)["nobody"] == 0

    @pytest.mark.parametrize(
        ("total", "exact", "parts"),
        [
            ("1.00", {"a": "0.335", "b": "0.335", "c": "0.33"}, {"a": "0.34", "b": "0.33", "c": "0.33"}),
            ("0.01", {"b": "0.005", "a": "0.005"}, {"b": "0.00", "a": "0.01"}),
            ("-0.01", {"a": "-0.005", "b": "-0.005"}, {"a": "0.00", "b": "-0.01"}),
            ("0.00", {"a": "0.004", "b": "-0.004"}, {"a": "0.00", "b": "0.00"}),
            ("0.00", {}, {}),
        ],
        ids=["largest remainder", "tie: smaller key", "negative", "credit and charge", "nobody"],
    )
    def test_of_known_cases(self, total: str, exact: dict[str, str], parts: dict[str, str]) -> None:
        given_shares = {party: Decimal(share) for party, share in exact.items()}
        expected = {party: Decimal(share) for party, share in parts.items()}
        assert apportioned(Decimal(total), given_shares, CENT) == expected

    @pytest.mark.parametrize(
        ("total", "why"), [("1.005", "whole multiple"), ("1.05", "come to"), ("0.95", "come to")], ids=str
    )
    def test_of_another_total_are_refused(self, total: str, why: str) -> None:
        with pytest.raises(InvalidInput, match=why):
            apportioned(Decimal(total), {"a": Decimal("0.5"), "b": Decimal("0.5")}, CENT)

    def test_do_not_depend_on_the_context_of_the_caller(self) -> None:
        exact = {"a": Decimal("12345678.905"), "b": Decimal("0.095")}
        with localcontext() as context:
            context.prec, context.rounding = 12, ROUND_UP
            assert getcontext().prec == 12
            parts = apportioned(Decimal("12345679.00"), exact, CENT)
        assert parts == {"a": Decimal("12345678.91"), "b": Decimal("0.09")}
