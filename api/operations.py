"""The thin layer between aiohttp and the routes: what an operation takes and gives is read off its signature.

A handler is ``async def handler(call: Call, body: SomeRequest, query: SomeFilter) -> Reply[SomeView]``; ``body`` and
``query`` may be left out. The same signature checks a request and writes the OpenAPI document, so they cannot differ.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import Any, Generic, TypeVar, get_args, get_type_hints

import structlog
from aiohttp import web
from pydantic import BaseModel, ValidationError

from api.auth import ApiKey, Scope, require_scope
from api.problems import FieldProblemView, HttpProblem, unusable_body, unusable_query
from api.service import Service
from optimizer.errors import NotFound

SERVICE: web.AppKey[Service] = web.AppKey("service", Service)
AUDITED: web.RequestKey[bool] = web.RequestKey("audited", bool)
# What names something may hold in a path; anything else cannot exist.
_PATH_VALUE = re.compile(r"^[A-Za-z0-9._~:+-]{1,80}$")

View = TypeVar("View", bound=BaseModel)


@dataclass(frozen=True)
class Reply(Generic[View]):
    """What an operation answers."""

    body: View
    """The body."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers."""


@dataclass(frozen=True)
class Call:
    """One request to one operation."""

    service: Service
    """The service asked."""
    caller: ApiKey
    """Who asks."""
    path: Mapping[str, str]
    """Values of the path's parameters."""
    headers: Mapping[str, str]
    """Headers of the request."""


Handler = Callable[..., Awaitable[Reply[Any]]]


@dataclass(frozen=True)
class Operation:
    """One method on one path."""

    method: str
    """HTTP method."""
    path: str
    """Path template, for example /v1/sites/{site_id}."""
    handler: Handler
    """What answers."""
    scope: Scope
    """What the caller's key must permit."""
    status: HTTPStatus = HTTPStatus.OK
    """Status of a success."""
    request_headers: tuple[str, ...] = ()
    """Optional headers of the request that it heeds."""
    conflicts: bool = False
    """Whether it may answer 409."""
    asks_station: bool = False
    """Whether it may answer 502, for a station is asked that may be offline or refuse."""

    @cached_property
    def body_model(self) -> type[BaseModel] | None:
        """Schema of the body; ``None``: it takes none."""
        return self._annotation("body")

    @cached_property
    def query_model(self) -> type[BaseModel] | None:
        """Schema of the query; ``None``: it takes none."""
        return self._annotation("query")

    @cached_property
    def reply_model(self) -> type[BaseModel]:
        """Schema of the answer."""
        model: type[BaseModel] = get_args(get_type_hints(self.handler)["return"])[0]
        return model

    @property
    def is_audited(self) -> bool:
        """Whether each use is kept in the audit trail: every change but the stream of meter readings."""
        return self.method != "GET" and self.scope is not Scope.METER

    @property
    def summary(self) -> str:
        """First line of the handler's docstring."""
        return self.description.splitlines()[0].rstrip(".")

    @property
    def description(self) -> str:
        """The handler's docstring up to its sections."""
        return re.split(r"\n\s*\n(?:Args|Returns|Raises):", inspect.getdoc(self.handler) or "")[0].strip()

    @property
    def path_parameters(self) -> tuple[str, ...]:
        """Names in the path template."""
        return tuple(re.findall(r"{(\w+)}", self.path))

    async def answer(self, request: web.Request) -> web.Response:
        """Check who calls and what is sent, call the handler, and write its answer."""
        service = request.app[SERVICE]
        caller = service.keys.caller(request.headers)
        structlog.contextvars.bind_contextvars(caller=caller.name)
        require_scope(caller, self.scope)
        call = Call(service, caller, _path_values(request.match_info), request.headers)
        arguments: dict[str, BaseModel] = {}
        if self.query_model is not None:
            arguments["query"] = _query_of(request, self.query_model)
        elif request.query:
            raise _unknown_parameters(request)
        if self.body_model is not None:
            arguments["body"] = await _body_of(request, self.body_model)
        reply = await self.handler(call, **arguments)
        if self.is_audited:
            request[AUDITED] = True
            subject = "/".join(call.path.values()) or str(getattr(reply.body, "id", ""))
            await service.audit.note(caller.name, f"{self.method} {self.path}", subject)
        return web.Response(
            status=self.status,
            text=reply.body.model_dump_json(),
            content_type="application/json",
            headers=reply.headers,
        )

    def _annotation(self, name: str) -> type[BaseModel] | None:
        found = get_type_hints(self.handler).get(name)
        return found if isinstance(found, type) and issubclass(found, BaseModel) else None


async def _body_of(request: web.Request, model: type[BaseModel]) -> BaseModel:
    if request.content_type != "application/json" and not request.content_type.endswith("+json"):
        raise HttpProblem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "send 'Content-Type: application/json'"
        )
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise HttpProblem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "send the body uncompressed")
    try:
        raw = await request.read()
    except web.RequestPayloadError as error:
        raise HttpProblem(HTTPStatus.BAD_REQUEST, "malformed-body", f"the body cannot be read: {error}") from error
    try:
        # Decoded here: pydantic's own error report fails on bytes that are no UTF-8.
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HttpProblem(HTTPStatus.BAD_REQUEST, "malformed-body", f"the body is not UTF-8: {error.reason}") from error
    try:
        return model.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise unusable_body(error) from error


def _query_of(request: web.Request, model: type[BaseModel]) -> BaseModel:
    try:
        return model.model_validate(dict(request.query))
    except ValidationError as error:
        raise unusable_query(error) from error


def _path_values(match: Mapping[str, str]) -> dict[str, str]:
    for name, value in match.items():
        if not _PATH_VALUE.match(value):
            raise NotFound(name.removesuffix("_id").replace("_", " "), value)
    return dict(match)


def _unknown_parameters(request: web.Request) -> HttpProblem:
    errors = tuple(FieldProblemView(parameter=name, detail="no such query parameter") for name in request.query)
    return HttpProblem(
        HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", "this operation takes no query parameters", errors
    )
