"""Exact money: minor units, rounding once, and shares that add up.

    >>> from decimal import Decimal
    >>> exact = {"a": Decimal("0.335"), "b": Decimal("0.335"), "c": Decimal("0.330")}
    >>> apportioned(Decimal("1.00"), exact, minor_unit("EUR"))
    {'a': Decimal('0.34'), 'b': Decimal('0.33'), 'c': Decimal('0.33')}

Rounded one by one the three would come to 0.34 + 0.34 + 0.33 = 1.01. So each share is rounded down instead, and the
cents that are left go to the largest remainders; where remainders are equal, to the smaller key.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Protocol, TypeVar

from optimizer.errors import InvalidInput

EXACT = Context(prec=34, rounding=ROUND_HALF_EVEN)
"""Arithmetic of costing: sums and differences of registers and prices are exact in it, whatever the caller has set."""

USUAL_DIGITS = 2
OTHER_DIGITS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI"), 0),
    **dict.fromkeys(("VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
"""Currencies whose minor unit is not a hundredth (ISO 4217, table A.1)."""


class _Ordered(Protocol):
    def __lt__(self, other: Any, /) -> bool: ...


Party = TypeVar("Party", bound=_Ordered)


def minor_unit(currency: str) -> Decimal:
    """The smallest amount that can be paid: 0.01 for EUR, 1 for JPY, 0.001 for KWD [currency]."""
    return Decimal(1).scaleb(-OTHER_DIGITS.get(currency, USUAL_DIGITS))


def rounded(exact: Decimal, unit: Decimal) -> Decimal:
    """``exact`` in whole ``unit``s, half to even."""
    return _without_negative_zero(exact.quantize(unit, ROUND_HALF_EVEN, EXACT))


def apportioned(total: Decimal, exact_shares: Mapping[Party, Decimal], unit: Decimal) -> dict[Party, Decimal]:
    """Round shares to whole ``unit``s so that they add up to ``total`` exactly (largest remainder).

    Args:
        total: Sum of the shares, already in whole units.
        exact_shares: Who bears how much; shares may be negative.
        unit: The smallest amount.

    Returns:
        The rounded shares, each less than one unit from the exact one, in the order of ``exact_shares``.

    Raises:
        InvalidInput: ``total`` is no whole number of units, or is not the rounded sum of the shares.
    """
    if total != rounded(total, unit):
        raise InvalidInput("total", total, f"give a whole multiple of {unit}")
    whole = {
        party: _without_negative_zero(exact.quantize(unit, ROUND_FLOOR, EXACT)) for party, exact in exact_shares.items()
    }
    remainders = {party: EXACT.subtract(exact, whole[party]) for party, exact in exact_shares.items()}
    left = int((total - sum(whole.values(), Decimal(0))) / unit)
    receivers = [party for party, remainder in remainders.items() if remainder]
    if not 0 <= left <= len(receivers):
        raise InvalidInput("total", total, f"the shares come to {sum(exact_shares.values(), Decimal(0))}")
    receivers.sort()
    receivers.sort(key=remainders.__getitem__, reverse=True)
    for party in receivers[:left]:
        whole[party] += unit
    return whole


def _without_negative_zero(amount: Decimal) -> Decimal:
    return EXACT.plus(amount)
