"""Empties the outbox of energy-cost records towards billing, again and again until each is taken.

A record is queued in the same transaction that stores it, so none is lost; a failed attempt is tried again after a
growing time, for ever, since a cost that is never billed is worse than a late one. An attempt whose answer got lost is
repeated with the same id and the same bytes, so the receiver takes each record once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from random import Random

from optimizer.errors import DeliveryFailed, ReceiverGone, ReceiverUnreachable, SourceUnavailable
from optimizer.ports import BillingSink, Clock, RecordStore

_LOG = logging.getLogger(__name__)

RETRY_DELAYS_S = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Time after the first, second, ... failed attempt (Standard Webhooks); after the last, again each time."""

GREATEST_JITTER = 0.1
"""Share of a delay that may come on top, so that records that failed together do not return together."""

RECORDS_A_ROUND = 100


@dataclass(frozen=True, slots=True)
class DeliveryRound:
    """What one look at the outbox did."""

    delivered: int
    """Records taken."""
    failed: int
    """Records to be tried again later."""
    stopped: bool
    """Whether the rest was left for the next round, since nobody answers or wants them."""


async def deliver_due(
    records: RecordStore, sink: BillingSink, clock: Clock, randomness: Random, *, limit: int = RECORDS_A_ROUND
) -> DeliveryRound:
    """Hand over the records that are due now, oldest first.

    Args:
        records: Holds the outbox.
        sink: Takes the records.
        clock: Tells what is due.
        randomness: Spreads the next attempts.
        limit: Most records of one round.
    """
    delivered = failed = 0
    for record, attempts in await records.undelivered(clock.now(), limit):
        try:
            await sink.deliver(record)
        except ReceiverGone:
            return DeliveryRound(delivered, failed, stopped=True)
        except SourceUnavailable as error:
            failed += 1
            next_attempt_at = clock.now() + _delay(attempts, error, randomness)
            await records.mark_failed(record.id, next_attempt_at, str(error))
            _LOG.warning("record %s not delivered, again at %s: %s", record.id, next_attempt_at.isoformat(), error)
            if isinstance(error, ReceiverUnreachable):
                return DeliveryRound(delivered, failed, stopped=True)
        else:
            delivered += 1
            await records.mark_delivered(record.id, clock.now())
    return DeliveryRound(delivered, failed, stopped=False)


def _delay(attempts: int, error: SourceUnavailable, randomness: Random) -> timedelta:
    """Time until the next attempt after ``attempts`` earlier ones and this one failed."""
    delay_s = RETRY_DELAYS_S[min(attempts, len(RETRY_DELAYS_S) - 1)]
    if isinstance(error, DeliveryFailed) and error.retry_after_s is not None:
        delay_s = max(delay_s, error.retry_after_s)
    return timedelta(seconds=delay_s * (1 + GREATEST_JITTER * randomness.random()))
