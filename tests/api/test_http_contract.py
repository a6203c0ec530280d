"""What holds for every route: keys and scopes, problems for every failure, a document that is valid and complete."""

from __future__ import annotations

import gzip
import json
import re
from random import Random
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.app import OPERATIONS
from api.auth import Scope
from api.operations import Operation
from optimizer.errors import Conflict

OPEN_PATHS = {"/healthz", "/readyz", "/metrics", "/openapi.json"}
BY_NAME = {f"{operation.method} {operation.path}": operation for operation in OPERATIONS}


def path_of(operation: Operation) -> str:
    return re.sub(r"{\w+}", "x", operation.path)


def is_problem(answer: Any, status: int) -> None:
    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.body["status"] == status
    assert answer.body["type"].startswith("urn:problem-type:chargehorizon:")
    assert answer.body["title"]
    assert answer.body["detail"]
    assert answer.body["trace_id"] == answer.headers["X-Request-ID"]


async def test_every_route_wants_a_known_key(caller: Any) -> None:
    for operation in OPERATIONS:
        none = await caller.ask(operation.method, path_of(operation), scope=None)
        is_problem(none, 401)
        assert none.headers["WWW-Authenticate"].startswith("Bearer")
        for headers in ({"Authorization": "Bearer wrong"}, {"X-API-Key": "wrong"}, {"Authorization": "Basic a2V5"},
                        {"Authorization": "Bearer "}):  # fmt: skip
            is_problem(await caller.ask(operation.method, path_of(operation), scope=None, headers=headers), 401)


async def test_every_route_wants_its_scope(caller: Any) -> None:
    for operation in OPERATIONS:
        for scope in Scope:
            answer = await caller.ask(operation.method, path_of(operation), scope=scope)
            if scope in (operation.scope, Scope.ADMIN):
                assert answer.status not in (401, 403), (operation.path, scope)
            else:
                is_problem(answer, 403)
                assert operation.scope in answer.body["detail"]


async def test_a_key_may_come_in_either_header(caller: Any) -> None:
    answer = await caller.ask("GET", "/v1/sites", scope=None, headers={"X-API-Key": "key-for-read"})
    assert answer.status == 200


async def test_nothing_of_v1_is_open(caller: Any) -> None:
    document = (await caller.ask("GET", "/openapi.json", scope=None)).body
    assert {path for path in document["paths"] if not path.startswith("/v1/")} == OPEN_PATHS
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            assert ("security" in described) == path.startswith("/v1/"), f"{method} {path}"


async def test_the_document_is_valid_and_names_every_route(caller: Any) -> None:
    document = (await caller.ask("GET", "/openapi.json", scope=None)).body
    OpenAPIV31SpecValidator(document).validate()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert {(operation.method, operation.path) for operation in OPERATIONS} <= described
    names = [method["operationId"] for methods in document["paths"].values() for method in methods.values()]
    assert len(set(names)) == len(names)


async def test_every_field_of_the_document_is_described(caller: Any) -> None:
    document = (await caller.ask("GET", "/openapi.json", scope=None)).body
    nameless = [
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        for field, described in schema.get("properties", {}).items()
        if "description" not in described
    ]
    assert not nameless


UNUSABLE_BODIES: dict[str, tuple[Any, dict[str, str], int]] = {
    "no JSON": (b"{", {}, 400),
    "nothing": (b"", {}, 400),
    "not UTF-8": (b'{"token_id": "\xff"}', {}, 400),
    "half a character": (b'{"token_id": "\\ud800"}', {}, 400),
    "nested too deep": (b"[" * 5000, {}, 400),
    "a list": (b"[]", {}, 422),
    "another media type": (b"{}", {"Content-Type": "text/plain"}, 415),
    "too large": (b'"' + b"x" * 70_000 + b'"', {}, 413),
    "packed": (gzip.compress(b'"' + b"x" * 70_000 + b'"'), {"Content-Encoding": "gzip"}, 415),
    "an unknown field": (b'{"colour": "red"}', {}, 422),
}


@pytest.mark.parametrize("case", UNUSABLE_BODIES, ids=str)
async def test_an_unusable_body_is_a_problem_on_every_route(caller: Any, case: str) -> None:
    body, headers, status = UNUSABLE_BODIES[case]
    for operation in OPERATIONS:
        if operation.body_model is not None:
            answer = await caller.ask(
                operation.method,
                path_of(operation),
                data=body,
                headers={"Content-Type": "application/json"} | headers,
            )
            is_problem(answer, status)


async def test_the_router_s_own_refusals_are_problems(caller: Any) -> None:
    is_problem(await caller.ask("GET", "/v1/nothing"), 404)
    is_problem(await caller.ask("GET", "/"), 404)
    wrong_method = await caller.ask("PUT", "/v1/reservations")
    is_problem(wrong_method, 405)
    assert wrong_method.headers["Allow"] == "GET,POST"


async def test_what_cannot_exist_is_not_found(caller: Any) -> None:
    for name in ("%00", "a%2Fb", "..%2F..", "%C3%BC", "a" * 200):
        is_problem(await caller.ask("GET", f"/v1/sessions/{name}"), 404)


async def test_unknown_query_parameters_are_refused(caller: Any) -> None:
    for operation in OPERATIONS:
        if operation.method == "GET":
            answer = await caller.ask("GET", path_of(operation) + "?colour=red")
            is_problem(answer, 422)
            assert answer.body["errors"] == [{"parameter": "colour", "detail": answer.body["errors"][0]["detail"]}]


async def test_a_fault_of_ours_is_a_problem_that_tells_nothing(caller: Any) -> None:
    caller.control.failure = RuntimeError("secret inner workings")
    answer = await caller.ask("GET", "/v1/sites/garage")
    is_problem(answer, 500)
    assert "secret" not in answer.text


async def test_a_request_keeps_its_id(caller: Any) -> None:
    answer = await caller.ask("GET", "/v1/nothing", headers={"X-Request-ID": "order-66"})
    assert answer.body["trace_id"] == answer.headers["X-Request-ID"] == "order-66"
    answer = await caller.ask("GET", "/v1/nothing", headers={"X-Request-ID": "a b\tc"})
    assert answer.headers["X-Request-ID"] != "a b\tc"


async def test_an_answer_of_every_read_fits_its_schema(caller: Any) -> None:
    for operation in OPERATIONS:
        if operation.method == "GET" and not operation.path_parameters and operation.path != "/v1/plans/latest":
            answer = await caller.ask("GET", operation.path)
            assert answer.status == 200, operation.path
            operation.reply_model.model_validate_json(json.dumps(answer.body))


ODD_VALUES: list[Any] = [
    None, True, 0, -1, 1.5, 1e308, -1e308, 2**63, "", "x" * 5000, "\u0000", "2026-03-02T10:00:00Z", "2026-03-02T10:00:00",
    "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "NaN", "1e999", "12.5", [], {}, [[]], [None], {"start": 1},
    "\u202e", "import_limit", "price",
]  # fmt: skip
LIKELY = {
    "start": "2026-03-02T10:00:00Z",
    "end": "2026-03-02T12:00:00Z",
    "depart_at": "2026-03-02T12:00:00Z",
    "at": "2026-03-02T09:00:00Z",
    "token_id": "driver",
    "value": 5,
    "energy_kwh": 5,
    "import_register_kwh": "1.5",
    "readings": [{"at": "2026-03-02T09:00:00Z", "import_register_kwh": "1"}],
}


async def test_no_body_however_odd_makes_us_fail(caller: Any) -> None:
    chance = Random(20260302)
    caller.control.failure = Conflict("not now")
    for operation in OPERATIONS:
        if operation.body_model is None:
            continue
        names = list(operation.body_model.model_fields)
        for _ in range(60):
            body = {name: LIKELY[name] for name in names if name in LIKELY}
            for name in chance.sample(names, chance.randint(1, min(3, len(names)))):
                body[name] = chance.choice(ODD_VALUES)
            path = operation.path.replace("{site_id}", "garage").replace("{session_id}", "s1")
            answer = await caller.ask(operation.method, path, json=body)
            assert answer.status < 500, (path, body, answer.body)


async def test_no_query_however_odd_makes_us_fail(caller: Any) -> None:
    for operation in OPERATIONS:
        if operation.query_model is None:
            continue
        for name in operation.query_model.model_fields:
            for odd in ODD_VALUES:
                if isinstance(odd, str) and len(odd) < 100:
                    answer = await caller.ask(operation.method, path_of(operation), params={name: odd})
                    assert answer.status < 500, (operation.path, name, odd)
