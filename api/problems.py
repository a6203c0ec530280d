"""Answers that say what went wrong, in one form for all of them (RFC 9457, application/problem+json)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connectors.sections import dotted, fix_of
from optimizer.errors import (
    ChargeHorizonError,
    ChargerRefused,
    ChargerUnreachable,
    Conflict,
    InvalidInput,
    NotFound,
    PlanningFailed,
    SourceUnavailable,
    StorageFailed,
)

PROBLEM_TYPE_PREFIX = "urn:problem-type:chargehorizon:"
PROBLEM_MEDIA_TYPE = "application/problem+json"


class FieldProblemView(BaseModel):
    """One field that cannot be used."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    pointer: str | None = None
    """JSON pointer into the body, for example #/window/start."""
    parameter: str | None = None
    """Name of the query parameter, header or path part."""
    detail: str
    """What would be accepted."""


class ProblemView(BaseModel):
    """Body of every answer that is not 2xx (RFC 9457)."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str = Field(examples=[f"{PROBLEM_TYPE_PREFIX}not-found"])
    """Stable name of the kind of problem."""
    title: str
    """The kind of problem in words."""
    status: int
    """The HTTP status."""
    detail: str
    """What is wrong in this case."""
    instance: str
    """The path that was asked for."""
    trace_id: str
    """Name of this request in the log."""
    errors: list[FieldProblemView] = []
    """The fields concerned."""


@dataclass
class HttpProblem(ChargeHorizonError):
    """A request is answered with a problem."""

    status: HTTPStatus
    """The HTTP status."""
    kind: str
    """Last part of the problem's type."""
    detail: str
    """What is wrong in this case."""
    errors: tuple[FieldProblemView, ...] = ()
    """The fields concerned."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers of the answer."""

    def __post_init__(self) -> None:
        super().__init__(self.detail)

    def answer(self, *, instance: str, trace_id: str) -> web.Response:
        """The HTTP answer."""
        view = ProblemView(
            type=PROBLEM_TYPE_PREFIX + self.kind,
            title=self.kind.replace("-", " ").capitalize(),
            status=self.status.value,
            detail=self.detail,
            instance=instance,
            trace_id=trace_id,
            errors=list(self.errors),
        )
        return web.Response(
            status=self.status.value,
            text=json.dumps(view.model_dump(mode="json", exclude_none=True), ensure_ascii=False),
            content_type=PROBLEM_MEDIA_TYPE,
            headers=self.headers,
        )


def unusable_body(error: ValidationError) -> HttpProblem:
    """The problem of a body that is no JSON (400) or does not fit the schema (422)."""
    found = error.errors(include_url=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return HttpProblem(HTTPStatus.BAD_REQUEST, "malformed-body", found[0]["msg"])
    errors = tuple(FieldProblemView(pointer=_pointer(one["loc"]), detail=fix_of(one)) for one in found)
    detail = "; ".join(f"{_words(one)}: {one.detail}" for one in errors[:5])
    return HttpProblem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", detail, errors)


def unusable_query(error: ValidationError) -> HttpProblem:
    """The problem of a query that does not fit the schema (422)."""
    errors = tuple(
        FieldProblemView(parameter=dotted(one["loc"]) or None, detail=fix_of(one))
        for one in error.errors(include_url=False, include_input=False)
    )
    detail = "; ".join(f"{one.parameter or 'query'}: {one.detail}" for one in errors[:5])
    return HttpProblem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", detail, errors)


def problem_of(error: ChargeHorizonError) -> HttpProblem:
    """The problem that tells an error of ours over HTTP."""
    match error:
        case HttpProblem():
            return error
        case InvalidInput():
            field_problem = FieldProblemView(pointer="#/" + error.field.replace(".", "/"), detail=error.fix)
            return HttpProblem(
                HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", f"{error.field}: {error.fix}", (field_problem,)
            )
        case NotFound():
            return HttpProblem(HTTPStatus.NOT_FOUND, "not-found", str(error))
        case Conflict():
            return HttpProblem(HTTPStatus.CONFLICT, "conflict", str(error))
        case SourceUnavailable() | PlanningFailed() | StorageFailed():
            return HttpProblem(HTTPStatus.SERVICE_UNAVAILABLE, "source-unavailable", str(error))
        case ChargerUnreachable() | ChargerRefused():
            return HttpProblem(HTTPStatus.BAD_GATEWAY, "charger-failed", str(error))
        case _:
            return unexpected_problem()


def problem_of_status(error: web.HTTPException) -> HttpProblem:
    """The problem that tells an answer of the HTTP library itself: no route, wrong method, body too large."""
    status = HTTPStatus(error.status)
    kept = {name: value for name, value in error.headers.items() if name in {"Allow", "Retry-After", "Location"}}
    kind = status.phrase.lower().replace(" ", "-")
    return HttpProblem(status, kind, f"{status.phrase}: {status.description or error.reason}", headers=kept)


def unexpected_problem() -> HttpProblem:
    """The problem of a fault of our own, without its inner workings."""
    return HttpProblem(
        HTTPStatus.INTERNAL_SERVER_ERROR, "unexpected", "the service failed; its log names this trace_id"
    )


def _pointer(location: tuple[int | str, ...]) -> str:
    return "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def _words(problem: FieldProblemView) -> str:
    return (problem.pointer or "").removeprefix("#/").replace("/", ".") or "body"
