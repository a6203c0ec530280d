"""Routes that need no key: health, readiness, figures, the document of the API."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from api.operations import SERVICE
from api.problems import FieldProblemView, HttpProblem

PlainHandler = Callable[[web.Request], Awaitable[web.Response]]


async def healthz(_request: web.Request) -> web.Response:
    """Whether the process lives."""
    return web.json_response({"status": "alive"})


async def readyz(request: web.Request) -> web.Response:
    """Whether the service does its work."""
    shortcomings = await request.app[SERVICE].readiness.shortcomings()
    if shortcomings:
        errors = tuple(FieldProblemView(detail=one) for one in shortcomings)
        raise HttpProblem(HTTPStatus.SERVICE_UNAVAILABLE, "not-ready", "; ".join(shortcomings), errors)
    return web.json_response({"status": "ready"})


async def metrics(request: web.Request) -> web.Response:
    """Figures for Prometheus."""
    return web.Response(body=request.app[SERVICE].metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def document_route(document: dict[str, Any]) -> PlainHandler:
    """A handler that shows the API's document."""
    text = json.dumps(document, ensure_ascii=False)

    async def openapi(_request: web.Request) -> web.Response:
        return web.Response(text=text, content_type="application/json")

    return openapi
