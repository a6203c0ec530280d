"""What single messages of a station say of the stay that is going on at an EVSE. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from optimizer.control.profile import SAME_KW
from optimizer.control.settings import ControlSettings
from optimizer.domain.charger import Connector, ConnectorReported, ConnectorStatus, TransactionBegun
from optimizer.domain.ids import StationId, TransactionId
from optimizer.domain.metering import MeterSample
from optimizer.domain.session import Session
from optimizer.domain.site import Evse

OCCUPIED = frozenset(
    {
        ConnectorStatus.PREPARING,
        ConnectorStatus.CHARGING,
        ConnectorStatus.SUSPENDED_BY_EVSE,
        ConnectorStatus.SUSPENDED_BY_VEHICLE,
        ConnectorStatus.FINISHING,
    }
)
VACANT = frozenset({ConnectorStatus.AVAILABLE, ConnectorStatus.RESERVED})
"""States in which no vehicle is plugged in."""
NO_TRANSACTION = frozenset({"", "0", "-1"})
"""Ids that stations send when they know of no transaction."""
STAMPS_APART = timedelta(seconds=10)
"""Stamps of one moment are this far apart at most; no vehicle makes room for the next one within it."""
UNPLUGGED_REASONS = frozenset({"EVDisconnected"})
"""OCPP stop reasons that mean that the cable is out."""


def as_its_state_says(
    session: Session, connector: Connector, evse: Evse, event: ConnectorReported, settings: ControlSettings
) -> Session:
    """What a state tells at once of the vehicle's own limit, long before samples show it.

    A vehicle that is suspended on its own account though it may charge takes nothing: it is full, or waits. One that
    charges again takes something.
    """
    setpoint = connector.setpoint
    settled = event.at - timedelta(seconds=settings.settle_s)
    may_charge = setpoint is None or min(setpoint.limit_at_kw(event.at), setpoint.limit_at_kw(settled)) >= (
        evse.min_power_kw - SAME_KW
    )
    if event.status is ConnectorStatus.SUSPENDED_BY_VEHICLE and session.transaction_id is not None and may_charge:
        return replace(session, accepted_power_kw=0.0)
    if event.status is ConnectorStatus.CHARGING and session.accepted_power_kw == 0.0:
        return replace(session, accepted_power_kw=None)
    return session


def is_other_stay(active: Session, event: TransactionBegun) -> bool:
    """Whether a new transaction must be of another vehicle than the one thought to be there."""
    return (
        active.token_id is not None
        and event.token_id is not None
        and active.token_id != event.token_id
        and event.at >= active.plugged_in_at
        and event.transaction_id != active.transaction_id
    )


def is_earlier_stay(active: Session, event: TransactionBegun) -> bool:
    """Whether a new transaction is of a vehicle that left before the one that is there came.

    A station that tells plug-in and transaction in the wrong order of time, by a clock of which more was learnt between
    the two, still means one vehicle.
    """
    tolerance = STAMPS_APART if active.transaction_id is None else timedelta(0)
    return event.at < active.plugged_in_at - tolerance


def register_sample(
    station_id: StationId, evse: Evse, at: datetime, transaction_id: TransactionId, register_kwh: Decimal | None
) -> MeterSample:
    """What a message about a transaction's begin or end says of the register."""
    return MeterSample(station_id, evse.id, at, transaction_id, register_kwh=register_kwh)
