"""The aiohttp application: every route, and one middleware that turns whatever goes wrong into a problem."""

from __future__ import annotations

import re
import time
from http import HTTPStatus
from importlib.metadata import version
from uuid import uuid4

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from api.openapi import openapi_document
from api.operations import AUDITED, SERVICE, Operation
from api.problems import HttpProblem, problem_of, problem_of_status, unexpected_problem
from api.routes import billing, grid_events, health, plans, reservations, sessions, sites, stations
from api.service import Service
from optimizer.errors import ChargeHorizonError

OPERATIONS: tuple[Operation, ...] = (
    *sites.OPERATIONS,
    *stations.OPERATIONS,
    *sessions.OPERATIONS,
    *reservations.OPERATIONS,
    *grid_events.OPERATIONS,
    *plans.OPERATIONS,
    *billing.OPERATIONS,
)
REQUEST_ID = "X-Request-ID"
_USABLE_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")

log = structlog.get_logger(__name__)


def make_app(service: Service, *, body_limit_bytes: int) -> web.Application:
    """The application that answers HTTP for ``service``.

    Args:
        service: What the routes work on.
        body_limit_bytes: Greatest size of a body; a larger one is answered with 413.
    """
    app = web.Application(client_max_size=body_limit_bytes, middlewares=[answer_errors])
    app[SERVICE] = service
    for operation in OPERATIONS:
        app.router.add_route(operation.method, operation.path, operation.answer)
    document = openapi_document(OPERATIONS, version=version("chargehorizon"))
    app.router.add_get("/healthz", health.healthz)
    app.router.add_get("/readyz", health.readyz)
    app.router.add_get("/metrics", health.metrics)
    app.router.add_get("/openapi.json", health.document_route(document))
    return app


def make_runner(app: web.Application, *, shutdown_timeout_s: float) -> web.AppRunner:
    """What serves the application; bodies are taken as they come, so that a small one cannot unpack to a large one.

    Args:
        app: The application.
        shutdown_timeout_s: Time that running requests are given at the end [s].
    """
    return web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=shutdown_timeout_s)


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every failure as a problem, and write one line a request into the log."""
    trace_id = _trace_id(request)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(trace_id=trace_id)
    begun_s = time.monotonic()
    answer: web.StreamResponse
    try:
        answer = await handler(request)
    except ChargeHorizonError as error:
        answer = _problem_answer(problem_of(error), request, trace_id)
    except web.HTTPException as error:
        answer = _problem_answer(problem_of_status(error), request, trace_id)
    except ConnectionResetError:
        # The caller has hung up: nobody is left to answer.
        raise
    except Exception:
        log.exception("request failed", method=request.method, path=request.path)
        answer = _problem_answer(unexpected_problem(), request, trace_id)
    answer.headers[REQUEST_ID] = trace_id
    _count_and_log(request, answer.status, time.monotonic() - begun_s)
    return answer


def _trace_id(request: web.Request) -> str:
    given = request.headers.get(REQUEST_ID, "")
    return given if _USABLE_REQUEST_ID.match(given) else uuid4().hex


def _problem_answer(problem: HttpProblem, request: web.Request, trace_id: str) -> web.Response:
    return problem.answer(instance=request.path, trace_id=trace_id)


def _count_and_log(request: web.Request, status: int, duration_s: float) -> None:
    resource = request.match_info.route.resource
    path = resource.canonical if resource is not None else "(none)"
    request.app[SERVICE].metrics.requests.labels(request.method, path, status).inc()
    write = log.info if status >= HTTPStatus.BAD_REQUEST or request.get(AUDITED) else log.debug
    write("request", method=request.method, path=request.path, status=status, duration_s=round(duration_s, 4))
