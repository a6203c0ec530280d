"""What a central system may order of a virtual station, in the words of both versions."""

from __future__ import annotations

from datetime import datetime

from optimizer.domain.ids import TokenId
from scenarios.profiles import ChargingProfile
from scenarios.station_core import StationCore
from scenarios.station_state import HeldReservation


class StationOrders:
    """Carries out orders at one station."""

    def __init__(self, core: StationCore) -> None:
        self._core = core

    def remote_start(
        self,
        evse_number: int | None,
        token_id: TokenId,
        number: int | None,
        profile: ChargingProfile | None,
        now: datetime,
    ) -> bool:
        """Start a transaction, or wait for a car; returns whether that is possible."""
        candidates = [evse_number] if evse_number else sorted(self._core.evses)
        for candidate in candidates:
            state = self._core.evses.get(candidate)
            if state is None or state.transaction is not None or not state.is_operative:
                continue
            if state.reservation is not None and state.reservation.token_id != token_id:
                continue
            state.token_waiting, state.remote_start_id, state.profile_waiting = token_id, number, profile
            if state.visit is not None:
                self._core.begin(state, token_id, now)
            return True
        return False

    def remote_stop(self, transaction_id: str, now: datetime) -> bool:
        """Stop a transaction; returns whether it runs here."""
        for state in self._core.evses.values():
            if state.transaction is not None and state.transaction.id == transaction_id:
                self._core.end_transaction(state, now, "Remote")
                return True
        return False

    def reserve(self, evse_number: int, reservation: HeldReservation) -> str:
        """Keep an EVSE for somebody; returns OCPP's status."""
        states = [self._core.evses[evse_number]] if evse_number in self._core.evses else list(self._core.evses.values())
        if evse_number and evse_number not in self._core.evses:
            return "Rejected"
        for state in states:
            replaces = state.reservation is not None and state.reservation.id == reservation.id
            if state.visit is None and state.is_operative and (state.reservation is None or replaces):
                state.reservation = reservation
                return "Accepted"
        return "Unavailable" if not any(state.is_operative for state in states) else "Occupied"

    def cancel_reservation(self, number: int) -> bool:
        """Give an EVSE free; returns whether it was kept."""
        for state in self._core.evses.values():
            if state.reservation is not None and state.reservation.id == number:
                state.reservation = None
                return True
        return False

    def set_availability(self, evse_number: int, *, operative: bool) -> str:
        """Take EVSEs out of service or back; returns OCPP's status."""
        states = [self._core.evses[evse_number]] if evse_number in self._core.evses else list(self._core.evses.values())
        for state in states:
            state.is_operative = operative
        return "Scheduled" if not operative and any(state.transaction for state in states) else "Accepted"

    def trigger(self, message: str, evse_number: int | None, now: datetime) -> bool:
        """Tell something that was asked for; returns whether it can be told."""
        states = [state for state in self._core.evses.values() if evse_number in (None, 0, state.number)]
        if message == "BootNotification":
            self._core.boot()
        elif message == "Heartbeat":
            self._core.heartbeat(now)
        elif message == "StatusNotification":
            self._core.report_states(now, states)
        elif message in ("MeterValues", "TransactionEvent"):
            for state in states:
                if message == "MeterValues" or state.transaction is not None:
                    self._core.tell_reading(state, now, "Trigger")
        else:
            return False
        return True
