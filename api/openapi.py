"""The OpenAPI 3.1 document, written from the operations' own signatures."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from api.auth import Scope
from api.idempotency import IDEMPOTENCY_KEY, IF_MATCH
from api.operations import Operation
from api.problems import PROBLEM_MEDIA_TYPE, ProblemView

_Key = tuple[type[BaseModel], str]
_REF = "#/components/schemas/{model}"
_HEADER_DESCRIPTIONS = {
    IDEMPOTENCY_KEY: "Makes a repeat harmless: the same key and body give the same answer and make nothing twice.",
    IF_MATCH: "The ETag last read; another version is answered with 412.",
}
_ALWAYS = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_WITH_BODY = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


def openapi_document(operations: Sequence[Operation], *, version: str) -> dict[str, Any]:
    """The OpenAPI document of the given operations and of the open routes beside them.

    Args:
        operations: Every operation of the service.
        version: Version of the service.
    """
    references, schemas = _schemas(operations)
    paths: dict[str, dict[str, Any]] = _open_paths()
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "chargehorizon",
            "version": version,
            "summary": "Runs the charging of electric vehicles at a site.",
            "description": "Times carry a UTC offset. Units stand in the names of the fields. Money is a decimal "
            "string beside its currency. Every answer that is not 2xx is a problem after RFC 9457.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {"Problem": _problem_response()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
                "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _schemas(
    operations: Sequence[Operation],
) -> tuple[dict[_Key, dict[str, Any]], dict[str, Any]]:
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(ProblemView, "serialization"): None}
    for operation in operations:
        if operation.body_model is not None:
            wanted[operation.body_model, "validation"] = None
        wanted[operation.reply_model, "serialization"] = None
    references, definitions = models_json_schema(list(wanted), ref_template=_REF)
    return {key: dict(references[key]) for key in wanted}, definitions["$defs"]


def _operation(operation: Operation, references: dict[_Key, dict[str, Any]]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{operation.method.lower()}_{operation.handler.__module__.rpartition('.')[2]}_"
        f"{operation.handler.__name__}",
        "tags": [operation.path.split("/")[2]],
        "summary": operation.summary,
        "description": f"{operation.description}\n\nScope: `{operation.scope}`.",
        "security": [{"bearer": []}, {"api_key": []}],
        "parameters": [*_path_parameters(operation), *_query_parameters(operation), *_header_parameters(operation)],
        "responses": _responses(operation, references),
    }
    if operation.body_model is not None:
        schema = references[operation.body_model, "validation"]
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return described


def _responses(operation: Operation, references: dict[_Key, dict[str, Any]]) -> dict[str, Any]:
    success = {
        "description": operation.status.phrase,
        "content": {"application/json": {"schema": references[operation.reply_model, "serialization"]}},
    }
    problems = list(_ALWAYS)
    if operation.body_model is not None:
        problems += _WITH_BODY
    if operation.conflicts:
        problems.append(HTTPStatus.CONFLICT)
    if operation.asks_station:
        problems.append(HTTPStatus.BAD_GATEWAY)
    if IF_MATCH in operation.request_headers:
        problems.append(HTTPStatus.PRECONDITION_FAILED)
    if IDEMPOTENCY_KEY in operation.request_headers:
        problems.append(HTTPStatus.BAD_REQUEST)
    described = {str(operation.status.value): success}
    return described | {str(status.value): {"$ref": "#/components/responses/Problem"} for status in sorted(problems)}


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in operation.path_parameters
    ]


def _query_parameters(operation: Operation) -> list[dict[str, Any]]:
    if operation.query_model is None:
        return []
    schema = operation.query_model.model_json_schema(ref_template=_REF)
    named = schema.get("$defs", {})
    parameters = []
    for name, found in schema["properties"].items():
        value = {key: part for key, part in found.items() if key not in ("title", "description", "default")}
        parameters.append(
            {
                "name": name,
                "in": "query",
                "description": found.get("description", ""),
                "schema": _inlined(value, named),
            }
        )
    return parameters


def _inlined(schema: Any, named: dict[str, Any]) -> Any:
    """``schema`` with its references replaced by what they name: a query's own types stand nowhere else."""
    if isinstance(schema, list):
        return [_inlined(part, named) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(named[schema["$ref"].rpartition("/")[2]], named)
    return {key: _inlined(part, named) for key, part in schema.items()}


def _header_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "description": _HEADER_DESCRIPTIONS[name], "schema": {"type": "string"}}
        for name in operation.request_headers
    ]


def _open_paths() -> dict[str, dict[str, Any]]:
    """The routes that need no key."""
    problem = {"$ref": "#/components/responses/Problem"}
    plain = {"200": {"description": "OK", "content": {"text/plain": {"schema": {"type": "string"}}}}}
    state = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}
    stated = {"200": {"description": "OK", "content": {"application/json": {"schema": state}}}}
    document = {"200": {"description": "OK", "content": {"application/json": {"schema": {"type": "object"}}}}}
    return {
        "/healthz": {
            "get": {"operationId": "get_healthz", "summary": "Whether the process lives", "responses": stated}
        },
        "/readyz": {
            "get": {
                "operationId": "get_readyz",
                "summary": "Whether the service does its work: database, guard and plan in time",
                "responses": stated | {"503": problem},
            }
        },
        "/metrics": {"get": {"operationId": "get_metrics", "summary": "Figures for Prometheus", "responses": plain}},
        "/openapi.json": {"get": {"operationId": "get_openapi", "summary": "This document", "responses": document}},
    }


def _problem_response() -> dict[str, Any]:
    scopes = ", ".join(scope.value for scope in Scope)
    return {
        "description": f"What is wrong (RFC 9457). Scopes of keys are {scopes}.",
        "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": _REF.format(model=ProblemView.__name__)}}},
    }
