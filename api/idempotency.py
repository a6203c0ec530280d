"""Requests that may be repeated without harm.

The id of what a POST makes is derived from its ``Idempotency-Key``, so a repeat finds what the first call made, also
after a restart, and can make nothing twice. No second table has to agree with the first.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from http import HTTPStatus
from typing import TypeVar
from uuid import NAMESPACE_URL, uuid4, uuid5

from api.operations import Call
from api.problems import FieldProblemView, HttpProblem
from optimizer.errors import InvalidRequest, NotFound

IDEMPOTENCY_KEY = "Idempotency-Key"
IF_MATCH = "If-Match"
Made = TypeVar("Made")
_USABLE_KEY = re.compile(r"^[\x21-\x7e]{1,255}$")


def identifier_for(call: Call, kind: str) -> str:
    """The id of what this call makes: with a key the same for each repeat, without one a new one.

    Raises:
        HttpProblem: 400, the key is no key.
    """
    key = call.headers.get(IDEMPOTENCY_KEY)
    if key is None:
        return str(uuid4())
    if not _USABLE_KEY.match(key):
        field_problem = FieldProblemView(parameter=IDEMPOTENCY_KEY, detail="give 1 to 255 printable characters")
        raise HttpProblem(HTTPStatus.BAD_REQUEST, "invalid-header", "the Idempotency-Key is unusable", (field_problem,))
    return str(uuid5(NAMESPACE_URL, f"chargehorizon:{kind}:{call.caller.name}:{key}"))


async def made_before(read: Awaitable[Made], wanted: Made, asked_of: Callable[[Made], object]) -> Made | None:
    """What an earlier call with the same key made; ``None``: nothing yet.

    Args:
        read: Reads it by its id.
        wanted: What this call would make.
        asked_of: The part of it that the caller asked for, without what has become of it since.

    Raises:
        HttpProblem: 422, the key came with another body before.
    """
    try:
        kept = await read
    except NotFound:
        return None
    if asked_of(kept) != asked_of(wanted):
        raise HttpProblem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "idempotency-key-reused",
            "this Idempotency-Key came with another body before; take a new key for a new request",
        )
    return kept


def etag_of(version: int) -> str:
    """The strong ETag of a version."""
    return f'"{version}"'


def require_match(call: Call, version: int) -> None:
    """Let the call pass unless its ``If-Match`` names another version.

    Raises:
        HttpProblem: 412.
    """
    wanted = call.headers.get(IF_MATCH)
    if wanted is None or wanted.strip() == "*":
        return
    if etag_of(version) not in (tag.strip() for tag in wanted.split(",")):
        raise HttpProblem(
            HTTPStatus.PRECONDITION_FAILED,
            "version-mismatch",
            f"the ETag is {etag_of(version)} by now; read it again and decide anew",
        )


def require_ahead(field: str, end: datetime, now: datetime) -> None:
    """Let the call pass if what it asks for is not over; asked only when nothing was made before.

    Raises:
        InvalidRequest: It is.
    """
    if end <= now:
        raise InvalidRequest(field, end.isoformat(), f"must be after now, {now.isoformat()}")
