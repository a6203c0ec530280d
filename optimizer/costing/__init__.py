"""Metered energy and a tariff in; the site's bill and what each session's energy cost out. Exact, in Decimal.

    registers --> intervals --> bill --> allocation --> records
                                             |
                                          balance

One worked half-hour, on a June day at 0.30 EUR/kWh, 30 EUR/kW and month, and 0.08 EUR/kWh for export:

    kWh            import   PV  export |  used  grid share | car A  car B  building  losses
    12:00-12:15      4.0   2.0    0.0  |   6.0    4/6      |  3.0    0.9     2.0       0.1
    12:15-12:30      3.0   3.0    1.0  |   5.0    3/5      |  3.0    0.0     2.0       0.0

The bill: 7 kWh at 0.30 is 2.10; 1 kWh of export brings 0.08; the peak is 4 kWh in a quarter of an hour, 16 kW, and one
day of thirty costs 30 * 16 / 30 = 16.00. Car A took 3 * 4/6 + 3 * 3/5 = 3.8 kWh from the grid, 1.14 EUR, and 2.2 kWh
from PV; in the peak quarter-hour it took 2 of the 4 kWh bought, so half of the demand charge is its share.

    >>> from datetime import UTC, datetime, timedelta
    >>> from decimal import Decimal
    >>> from optimizer.costing.allocation import allocate
    >>> from optimizer.costing.balance import balance_report
    >>> from optimizer.costing.bill import site_bill
    >>> from optimizer.costing.billing_time import costing_grid
    >>> from optimizer.costing.intervals import session_metering, site_intervals
    >>> from optimizer.domain.metering import MeterSample, SiteMeterReading
    >>> from optimizer.domain.moment import Interval
    >>> from optimizer.domain.tariff import DemandCharge, EnergyBand, Tariff, TariffWindow

    >>> day = Interval(datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 6, 2, tzinfo=UTC))
    >>> tariff = Tariff("t", "Example", "EUR", "UTC", (EnergyBand("energy", TariffWindow(), Decimal("0.30")),),
    ...     (DemandCharge("demand", Decimal(30)),), export_price_per_kwh=Decimal("0.08"))
    >>> grid = costing_grid(tariff, day)
    >>> noon, first, second = (day.start + timedelta(hours=12, minutes=minutes) for minutes in (0, 15, 30))

    >>> registers = {day.start: (0, 0, 0, 0), noon: (0, 0, 0, 0), first: (4, 0, 2, 2), second: (7, 1, 5, 4)}
    >>> readings = [SiteMeterReading("site", at, *map(Decimal, values)) for at, values in registers.items()]
    >>> site, _ = site_intervals([*readings, SiteMeterReading("site", day.end, *map(Decimal, (7, 1, 5, 4)))], grid)
    >>> bill = site_bill("site", site, tariff, day)
    >>> [(line.label, str(line.quantity), str(line.amount)) for line in bill.lines]
    [('energy', '7.000', '2.10'), ('pv', '4.000', '0.00'), ('demand', '16.000', '16.00'), ('export', '1.000', '-0.08')]

    >>> def car(name, *register_kwh):
    ...     samples = [MeterSample(name, name, at, register_kwh=Decimal(value))
    ...         for at, value in zip((noon, first, second), register_kwh)]
    ...     return session_metering(name, samples, grid)[0]
    >>> allocation = allocate(bill, site, [car("A", "100", "103", "106"), car("B", "50", "50.9", "50.9")], (), tariff)
    >>> for line in allocation.session_lines["A"]:
    ...     print(line.label, line.quantity, line.amount, line.opportunity_amount)
    energy 3.800 1.14 0.00
    pv 2.200 0.00 0.18
    demand 8.000 8.00 0.00

    >>> total = balance_report(allocation).total
    >>> print(total.bill, "=", total.sessions, "+", total.building, "+", total.losses, "+", total.unassigned)
    18.02 = 11.72 + 6.01 + 0.29 + 0
    >>> total.difference
    Decimal('0.00')
"""
