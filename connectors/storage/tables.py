"""The tables, and the column types that keep instants, decimals and long texts exact.

Columns stand for what is searched, ordered or unique; the rest of a nested domain object is one JSON text (`codec`).
High-volume rows (meter samples, site readings) are columns throughout. Money and registers are text, never floating.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)

from optimizer.domain.moment import require_utc

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class UtcInstant(TypeDecorator[datetime]):
    """An instant as whole microseconds since 1970: exact, and sorted as time is."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Count the microseconds."""
        return None if value is None else (require_utc("instant", value) - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give the instant back, aware [UTC]."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class ExactDecimal(TypeDecorator[Decimal]):
    """A decimal as text: no digit is lost, unlike in a floating column."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Write all digits."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Decimal | None:  # noqa: ARG002
        """Read all digits."""
        return None if value is None else Decimal(value)


class CompressedText(TypeDecorator[str]):
    """A long text, deflated: a plan of 300 kB takes some 20 kB."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002
        """Deflate; level 1 is several times as fast as the default and nearly as small here."""
        return None if value is None else zlib.compress(value.encode(), level=1)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Inflate."""
        return None if value is None else zlib.decompress(value).decode()


# SQLite numbers rows by itself only in a column declared INTEGER.
_RowNumber = BigInteger().with_variant(Integer(), "sqlite")

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

COUNTER = Table(
    "counter",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("last_value", BigInteger, nullable=False),
)

SESSION = Table(
    "session",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("site_id", Text, nullable=False),
    Column("evse_id", Text, nullable=False),
    Column("plugged_in_at", UtcInstant, nullable=False),
    Column("unplugged_at", UtcInstant),
    Column("body", Text, nullable=False),
)
Index("ix_session_site_id_plugged_in_at_id", SESSION.c.site_id, SESSION.c.plugged_in_at, SESSION.c.id)
Index(
    "ix_session_active",
    SESSION.c.site_id,
    SESSION.c.plugged_in_at,
    SESSION.c.id,
    sqlite_where=SESSION.c.unplugged_at.is_(None),
    postgresql_where=SESSION.c.unplugged_at.is_(None),
)
Index(
    "ix_session_active_evse_id",
    SESSION.c.evse_id,
    sqlite_where=SESSION.c.unplugged_at.is_(None),
    postgresql_where=SESSION.c.unplugged_at.is_(None),
)

CHARGING_TRANSACTION = Table(
    "charging_transaction",
    METADATA,
    Column("station_id", Text, primary_key=True),
    Column("transaction_id", Text, primary_key=True),
    Column("begin_key", Text, nullable=False, unique=True),
    Column("session_id", Text, ForeignKey("session.id"), nullable=False, index=True),
    Column("begun_at", UtcInstant, nullable=False),
)
Index("ix_charging_transaction_transaction_id", CHARGING_TRANSACTION.c.transaction_id)

# No foreign key to the session: a meter value is kept whatever is known of its session.
METER_SAMPLE = Table(
    "meter_sample",
    METADATA,
    Column("evse_id", Text, primary_key=True),
    Column("at", UtcInstant, primary_key=True),
    # Empty where the station tells none: as NULL, repeats would not be seen to be equal.
    Column("transaction_id", Text, primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("station_id", Text, nullable=False),
    Column("site_id", Text),
    Column("session_id", Text),
    Column("register_kwh", ExactDecimal),
    Column("power_kw", Double),
    Column("current_l1_a", Double),
    Column("current_l2_a", Double),
    Column("current_l3_a", Double),
    Column("voltage_v", Double),
    Column("soc", Double),
    Column("quality", Text, nullable=False),
    Column("signed_value", Text),
    Column("export_register_kwh", ExactDecimal),
    sqlite_with_rowid=False,
)
Index("ix_meter_sample_session_id_at", METER_SAMPLE.c.session_id, METER_SAMPLE.c.at)
Index("ix_meter_sample_at_site_id", METER_SAMPLE.c.at, METER_SAMPLE.c.site_id)

SITE_READING = Table(
    "site_reading",
    METADATA,
    Column("site_id", Text, primary_key=True),
    Column("at", UtcInstant, primary_key=True),
    Column("import_register_kwh", ExactDecimal, nullable=False),
    Column("export_register_kwh", ExactDecimal, nullable=False),
    Column("pv_register_kwh", ExactDecimal),
    Column("building_register_kwh", ExactDecimal),
    Column("grid_kw", Double),
    Column("pv_kw", Double),
    Column("building_kw", Double),
    Column("current_l1_a", Double),
    Column("current_l2_a", Double),
    Column("current_l3_a", Double),
    Column("battery_soc", Double),
    Column("circuits", Text),
    sqlite_with_rowid=False,
)
Index("ix_site_reading_at", SITE_READING.c.at)

STATION = Table(
    "station",
    METADATA,
    Column("station_id", Text, primary_key=True),
    Column("booted", Text, nullable=False),
)

CONNECTOR_STATUS = Table(
    "connector_status",
    METADATA,
    Column("station_id", Text, primary_key=True),
    Column("ocpp_evse_id", Integer, primary_key=True, autoincrement=False),
    Column("status", Text, nullable=False),
    Column("at", UtcInstant, nullable=False),
    Column("error_code", Text, nullable=False),
)

EVSE_STATE = Table(
    "evse_state",
    METADATA,
    Column("evse_id", Text, primary_key=True),
    Column("setpoint", Text),
    Column("safe_default_kw", Double),
    Column("sampled_at", UtcInstant),
    Column("last_sample", Text),
)

PLAN_OUTCOME = Table(
    "plan_outcome",
    METADATA,
    Column("sequence", _RowNumber, primary_key=True, autoincrement=True),
    Column("plan_id", Text, nullable=False, unique=True),
    Column("site_id", Text, nullable=False),
    Column("made_at", UtcInstant, nullable=False),
    Column("kind", Text, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("body", CompressedText, nullable=False),
)
Index(
    "ix_plan_outcome_site_id_made_at_sequence",
    PLAN_OUTCOME.c.site_id,
    PLAN_OUTCOME.c.made_at,
    PLAN_OUTCOME.c.sequence,
)

# What each plan follows from, kept as long as the plan; what many steps share stands once in the second table.
CONTROL_STEP = Table(
    "control_step",
    METADATA,
    Column("plan_id", Text, primary_key=True),
    Column("site_id", Text, nullable=False),
    Column("made_at", UtcInstant, nullable=False),
    Column("ground_hash", Text, nullable=False),
    Column("body", CompressedText, nullable=False),
)
Index("ix_control_step_site_id_made_at", CONTROL_STEP.c.site_id, CONTROL_STEP.c.made_at)

CONTROL_GROUND = Table(
    "control_ground",
    METADATA,
    Column("ground_hash", Text, primary_key=True),
    Column("body", CompressedText, nullable=False),
)

RESERVATION = Table(
    "reservation",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("site_id", Text, nullable=False),
    Column("evse_id", Text),
    Column("start_at", UtcInstant, nullable=False),
    Column("end_at", UtcInstant, nullable=False),
    Column("status", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("body", Text, nullable=False),
)
Index("ix_reservation_site_id_end_at", RESERVATION.c.site_id, RESERVATION.c.end_at)
Index("ix_reservation_evse_id_end_at", RESERVATION.c.evse_id, RESERVATION.c.end_at)

GRID_EVENT = Table(
    "grid_event",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("site_id", Text, nullable=False),
    Column("start_at", UtcInstant, nullable=False),
    Column("end_at", UtcInstant, nullable=False),
    Column("body", Text, nullable=False),
)
Index("ix_grid_event_site_id_end_at", GRID_EVENT.c.site_id, GRID_EVENT.c.end_at)

# Append-only: the migration adds triggers that refuse UPDATE and DELETE.
ENERGY_COST_RECORD = Table(
    "energy_cost_record",
    METADATA,
    Column("sequence", _RowNumber, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("site_id", Text, nullable=False),
    Column("session_id", Text, nullable=False, index=True),
    Column("status", Text, nullable=False),
    Column("made_at", UtcInstant, nullable=False),
    Column("body", Text, nullable=False),
)
Index("ix_energy_cost_record_site_id_made_at", ENERGY_COST_RECORD.c.site_id, ENERGY_COST_RECORD.c.made_at)

BILLING_DELIVERY = Table(
    "billing_delivery",
    METADATA,
    Column(
        "record_sequence", _RowNumber, ForeignKey("energy_cost_record.sequence"), primary_key=True, autoincrement=False
    ),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", UtcInstant, nullable=False),
    Column("delivered_at", UtcInstant),
    Column("error", Text, nullable=False),
)
Index(
    "ix_billing_delivery_open",
    BILLING_DELIVERY.c.next_attempt_at,
    BILLING_DELIVERY.c.record_sequence,
    sqlite_where=BILLING_DELIVERY.c.delivered_at.is_(None),
    postgresql_where=BILLING_DELIVERY.c.delivered_at.is_(None),
)

SITE_BILL = Table(
    "site_bill",
    METADATA,
    Column("site_id", Text, primary_key=True),
    Column("start_at", UtcInstant, primary_key=True),
    Column("end_at", UtcInstant, primary_key=True),
    Column("body", Text, nullable=False),
)

# Append-only, as the records.
AUDIT_ENTRY = Table(
    "audit_entry",
    METADATA,
    Column("sequence", _RowNumber, primary_key=True, autoincrement=True),
    Column("at", UtcInstant, nullable=False, index=True),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False, index=True),
    Column("detail", Text, nullable=False),
    Column("entry_hash", Text, nullable=False),
)
