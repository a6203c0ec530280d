"""Energy-cost records, bills, and the closing of a billing window."""

from __future__ import annotations

from datetime import datetime

from api.auth import Scope
from api.cost_views import (
    BalanceView,
    BillListView,
    BillView,
    EnergyCostRecordListView,
    EnergyCostRecordView,
)
from api.operations import Call, Operation, Reply
from api.schemas import CloseWindowRequest, RecordFilter
from api.views import cursor_of, cursor_value, next_page
from optimizer.domain.cost import EnergyCostRecord
from optimizer.domain.ids import RecordId, SessionId
from optimizer.domain.moment import Interval
from optimizer.errors import NotFound

# Rows read at once while filtering.
_ROWS_AT_ONCE = 500


async def records(call: Call, query: RecordFilter) -> Reply[EnergyCostRecordListView]:
    """List energy-cost records, a page at a time: what each session's energy cost the site, line by line."""
    session_id = SessionId(query.session_id) if query.session_id is not None else None
    before = cursor_value(query.cursor)
    after = RecordId(before) if before is not None else None
    found: list[EnergyCostRecord] = []
    while len(found) <= query.limit:
        rows = await call.service.stores.records.records(
            call.service.site.id, session_id=session_id, status=query.status, after=after, limit=_ROWS_AT_ONCE
        )
        found += [record for record in rows if _within(record, query.start, query.end)]
        if len(rows) < _ROWS_AT_ONCE:
            break
        after = rows[-1].id
    page = found[: query.limit]
    next_cursor = cursor_of(page[-1].id) if len(found) > query.limit else None
    return Reply(
        EnergyCostRecordListView(
            energy_cost_records=[EnergyCostRecordView.of(record) for record in page], next_cursor=next_cursor
        ),
        next_page("/v1/energy-cost-records", query, next_cursor),
    )


async def bills(call: Call) -> Reply[BillListView]:
    """List the site's bills by window."""
    found = await call.service.stores.records.bills(call.service.site.id)
    return Reply(BillListView(bills=[BillView.of(bill) for bill in found]))


async def close_window(call: Call, body: CloseWindowRequest) -> Reply[BalanceView]:
    """Make the site's bill of a whole billing window that is over, and the final records of its sessions.

    The answer shows who bears which part, and that the parts add up to the bill. Closing the same window again with
    the same meter readings changes nothing.
    """
    if call.path["site_id"] != call.service.site.id:
        raise NotFound("site", call.path["site_id"])
    return Reply(BalanceView.of(await call.service.control.close_window(Interval(body.start, body.end))))


def _within(record: EnergyCostRecord, start: datetime | None, end: datetime | None) -> bool:
    return (start is None or record.window.end > start) and (end is None or record.window.start < end)


OPERATIONS = (
    Operation("GET", "/v1/energy-cost-records", records, Scope.BILLING),
    Operation("GET", "/v1/bills", bills, Scope.BILLING),
    Operation("POST", "/v1/sites/{site_id}/close-window", close_window, Scope.BILLING, conflicts=True),
)
