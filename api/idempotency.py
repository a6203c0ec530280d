"""Requests that may be repeated without harm.

The id of what a POST makes is derived from its ``Idempotency-Key``, so a repeat finds what the first call made, also
after a restart, and can make nothing twice. No second table has to agree with the first.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from uuid import NAMESPACE_URL, uuid4, uuid5

from api.operations import Call
from api.problems import FieldProblemView, HttpProblem

IDEMPOTENCY_KEY = "Idempotency-Key"
IF_MATCH = "If-Match"
_USABLE_KEY = re.compile(r"^[\x21-\x7e]{1,255}$")


def identifier_for(call: Call, kind: str) -> tuple[str, bool]:
    """The id of what this call makes, and whether an earlier call with the same key may have made it already.

    Raises:
        HttpProblem: 400, the key is no key.
    """
    key = call.headers.get(IDEMPOTENCY_KEY)
    if key is None:
        return str(uuid4()), False
    if not _USABLE_KEY.match(key):
        field_problem = FieldProblemView(parameter=IDEMPOTENCY_KEY, detail="give 1 to 255 printable characters")
        raise HttpProblem(HTTPStatus.BAD_REQUEST, "invalid-header", "the Idempotency-Key is unusable", (field_problem,))
    return str(uuid5(NAMESPACE_URL, f"chargehorizon:{kind}:{call.caller.name}:{key}")), True


def reused_key() -> HttpProblem:
    """The problem of a key that came with another body before."""
    return HttpProblem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "idempotency-key-reused",
        "this Idempotency-Key came with another body before; take a new key for a new request",
    )


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
