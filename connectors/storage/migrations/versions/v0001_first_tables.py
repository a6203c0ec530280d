"""The first tables.

Instants are microseconds since 1970; money and registers are text; a `body` is a domain object as JSON.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = ("energy_cost_record", "audit_entry")

TABLES = (
    "audit_entry",
    "site_bill",
    "billing_delivery",
    "energy_cost_record",
    "grid_event",
    "reservation",
    "plan_outcome",
    "evse_state",
    "connector_status",
    "station",
    "site_reading",
    "meter_sample",
    "charging_transaction",
    "session",
    "counter",
)


def upgrade() -> None:
    _create_sessions()
    _create_meter_values()
    _create_state_of_stations()
    _create_plans()
    _create_reservations_and_grid_events()
    _create_records()
    _create_audit_log()
    if op.get_context().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
        )
    for table in APPEND_ONLY:
        _forbid_changes(table)


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change()")


def _create_sessions() -> None:
    op.create_table(
        "counter",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("last_value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counter"),
    )
    op.create_table(
        "session",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("evse_id", sa.Text(), nullable=False),
        sa.Column("plugged_in_at", sa.BigInteger(), nullable=False),
        sa.Column("unplugged_at", sa.BigInteger()),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_session"),
    )
    op.create_index("ix_session_site_id_plugged_in_at_id", "session", ["site_id", "plugged_in_at", "id"])
    active = sa.text("unplugged_at IS NULL")
    op.create_index(
        "ix_session_active",
        "session",
        ["site_id", "plugged_in_at", "id"],
        sqlite_where=active,
        postgresql_where=active,
    )
    op.create_index("ix_session_active_evse_id", "session", ["evse_id"], sqlite_where=active, postgresql_where=active)
    op.create_table(
        "charging_transaction",
        sa.Column("station_id", sa.Text(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("begin_key", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("begun_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["session.id"], name="fk_charging_transaction_session_id_session"),
        sa.PrimaryKeyConstraint("station_id", "transaction_id", name="pk_charging_transaction"),
        sa.UniqueConstraint("begin_key", name="uq_charging_transaction_begin_key"),
    )
    op.create_index("ix_charging_transaction_session_id", "charging_transaction", ["session_id"])
    op.create_index("ix_charging_transaction_transaction_id", "charging_transaction", ["transaction_id"])


def _create_meter_values() -> None:
    op.create_table(
        "meter_sample",
        sa.Column("evse_id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("station_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text()),
        sa.Column("session_id", sa.Text()),
        sa.Column("register_kwh", sa.Text()),
        sa.Column("power_kw", sa.Double()),
        sa.Column("current_l1_a", sa.Double()),
        sa.Column("current_l2_a", sa.Double()),
        sa.Column("current_l3_a", sa.Double()),
        sa.Column("voltage_v", sa.Double()),
        sa.Column("soc", sa.Double()),
        sa.Column("quality", sa.Text(), nullable=False),
        sa.Column("signed_value", sa.Text()),
        sa.PrimaryKeyConstraint("evse_id", "at", "transaction_id", "reason", name="pk_meter_sample"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_meter_sample_session_id_at", "meter_sample", ["session_id", "at"])
    op.create_index("ix_meter_sample_at_site_id", "meter_sample", ["at", "site_id"])
    op.create_table(
        "site_reading",
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("import_register_kwh", sa.Text(), nullable=False),
        sa.Column("export_register_kwh", sa.Text(), nullable=False),
        sa.Column("pv_register_kwh", sa.Text()),
        sa.Column("building_register_kwh", sa.Text()),
        sa.Column("grid_kw", sa.Double()),
        sa.Column("pv_kw", sa.Double()),
        sa.Column("building_kw", sa.Double()),
        sa.Column("current_l1_a", sa.Double()),
        sa.Column("current_l2_a", sa.Double()),
        sa.Column("current_l3_a", sa.Double()),
        sa.Column("battery_soc", sa.Double()),
        sa.PrimaryKeyConstraint("site_id", "at", name="pk_site_reading"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_site_reading_at", "site_reading", ["at"])


def _create_state_of_stations() -> None:
    op.create_table(
        "station",
        sa.Column("station_id", sa.Text(), nullable=False),
        sa.Column("booted", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("station_id", name="pk_station"),
    )
    op.create_table(
        "connector_status",
        sa.Column("station_id", sa.Text(), nullable=False),
        sa.Column("ocpp_evse_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("station_id", "ocpp_evse_id", name="pk_connector_status"),
    )
    op.create_table(
        "evse_state",
        sa.Column("evse_id", sa.Text(), nullable=False),
        sa.Column("setpoint", sa.Text()),
        sa.Column("safe_default_kw", sa.Double()),
        sa.Column("sampled_at", sa.BigInteger()),
        sa.Column("last_sample", sa.Text()),
        sa.PrimaryKeyConstraint("evse_id", name="pk_evse_state"),
    )


def _create_plans() -> None:
    op.create_table(
        "plan_outcome",
        _row_number(),
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_plan_outcome"),
        sa.UniqueConstraint("plan_id", name="uq_plan_outcome_plan_id"),
    )
    op.create_index("ix_plan_outcome_site_id_made_at_sequence", "plan_outcome", ["site_id", "made_at", "sequence"])


def _create_reservations_and_grid_events() -> None:
    op.create_table(
        "reservation",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("evse_id", sa.Text()),
        sa.Column("start_at", sa.BigInteger(), nullable=False),
        sa.Column("end_at", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reservation"),
    )
    op.create_index("ix_reservation_site_id_end_at", "reservation", ["site_id", "end_at"])
    op.create_index("ix_reservation_evse_id_end_at", "reservation", ["evse_id", "end_at"])
    op.create_table(
        "grid_event",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("start_at", sa.BigInteger(), nullable=False),
        sa.Column("end_at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_grid_event"),
    )
    op.create_index("ix_grid_event_site_id_end_at", "grid_event", ["site_id", "end_at"])


def _create_records() -> None:
    op.create_table(
        "energy_cost_record",
        _row_number(),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_energy_cost_record"),
        sa.UniqueConstraint("id", name="uq_energy_cost_record_id"),
    )
    op.create_index("ix_energy_cost_record_session_id", "energy_cost_record", ["session_id"])
    op.create_index("ix_energy_cost_record_site_id_made_at", "energy_cost_record", ["site_id", "made_at"])
    op.create_table(
        "billing_delivery",
        sa.Column("record_sequence", _row_number_type(), autoincrement=False, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger(), nullable=False),
        sa.Column("delivered_at", sa.BigInteger()),
        sa.Column("error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["record_sequence"],
            ["energy_cost_record.sequence"],
            name="fk_billing_delivery_record_sequence_energy_cost_record",
        ),
        sa.PrimaryKeyConstraint("record_sequence", name="pk_billing_delivery"),
    )
    undelivered = sa.text("delivered_at IS NULL")
    op.create_index(
        "ix_billing_delivery_open",
        "billing_delivery",
        ["next_attempt_at", "record_sequence"],
        sqlite_where=undelivered,
        postgresql_where=undelivered,
    )
    op.create_table(
        "site_bill",
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("start_at", sa.BigInteger(), nullable=False),
        sa.Column("end_at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site_id", "start_at", "end_at", name="pk_site_bill"),
    )


def _create_audit_log() -> None:
    op.create_table(
        "audit_entry",
        _row_number(),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("entry_hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_audit_entry"),
    )
    op.create_index("ix_audit_entry_at", "audit_entry", ["at"])
    op.create_index("ix_audit_entry_subject", "audit_entry", ["subject"])


def _row_number() -> sa.Column[int]:
    """A column that the database counts up."""
    return sa.Column("sequence", _row_number_type(), autoincrement=True, nullable=False)


def _row_number_type() -> sa.types.TypeEngine[int]:
    """Large whole numbers; SQLite counts up in columns of the type INTEGER alone."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _forbid_changes(table: str) -> None:
    """Make the database itself refuse to change or delete a row; a version that makes the table anew repeats this."""
    if op.get_context().dialect.name == "postgresql":
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
