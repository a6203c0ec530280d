"""A client of the service's HTTP API, for drivers, site meters and displays that live outside the service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp

from optimizer.domain.metering import SiteMeterReading
from optimizer.errors import SourceUnavailable

# A service that is being started again answers within this time, or something is wrong.
LONGEST_SILENCE_S = 30.0
RETRY_AFTER_S = 0.05
TIMEOUT_S = 10.0
FIRST_SERVER_ERROR = 500

Json = dict[str, Any]


class ServiceRefused(SourceUnavailable):
    """The service answered with a problem.

    Args:
        status: HTTP status.
        problem: The problem document (RFC 9457).
    """

    def __init__(self, status: int, problem: Json) -> None:
        self.status = status
        self.problem = problem
        super().__init__(f"HTTP {status}: {problem.get('detail') or problem.get('title') or problem}")


class ServiceClient:
    """Talks to one service; while it is down, calls wait and are made again.

    Args:
        address: Where the service listens, for example ``http://127.0.0.1:8080``.
        key: An API key.
        patience_s: How long to ask again while the service is down, or fails [s]; 0: it is asked once.
        timeout_s: How long one answer may take [s].
    """

    def __init__(
        self, address: str, key: str, *, patience_s: float = LONGEST_SILENCE_S, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._address = address.rstrip("/")
        self._patience_s = patience_s
        self._timeout_s = timeout_s
        self._headers = {"Authorization": f"Bearer {key}"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, **query: str) -> Json:
        """The JSON at ``path``."""
        return await self._call("GET", path, query=query)

    async def post(self, path: str, body: Json | None, *, idempotency_key: str | None = None) -> Json:
        """Post ``body`` to ``path``; with a key, a repeat after a lost answer changes nothing."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return await self._call("POST", path, body=body, headers=headers)

    async def push_readings(self, readings: Sequence[SiteMeterReading]) -> None:
        """Hand over readings of the site meter."""
        body = {"readings": [_reading(reading) for reading in readings]}
        await self.post(f"/v1/sites/{readings[0].site_id}/meter-readings", body)

    async def active_session(self, token_id: str) -> Json | None:
        """The session that a token has open."""
        found = await self.get("/v1/sessions", token_id=token_id, active="true")
        return found["sessions"][-1] if found["sessions"] else None

    async def is_ready(self) -> bool:
        """Whether the service answers and does its work."""
        if self._session is None:
            raise SourceUnavailable("the client is not open; use it in 'async with'")
        try:
            async with self._session.get(f"{self._address}/readyz") as answer:
                return answer.ok
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Json | None = None,
        headers: dict[str, str] | None = None,
    ) -> Json:
        if self._session is None:
            raise SourceUnavailable("the client is not open; use it in 'async with'")
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._patience_s
        while True:
            try:
                async with self._session.request(
                    method, self._address + path, params=query, json=body, headers=headers
                ) as answer:
                    if answer.ok:
                        content: Json = await answer.json()
                        return content
                    problem = await answer.json(content_type=None)
                    if answer.status < FIRST_SERVER_ERROR or loop.time() >= give_up_at:
                        raise ServiceRefused(answer.status, problem)
            except (aiohttp.ClientError, TimeoutError) as error:
                if loop.time() >= give_up_at:
                    why = str(error) or type(error).__name__
                    raise SourceUnavailable(f"{self._address} does not answer: {why}") from error
            await asyncio.sleep(RETRY_AFTER_S)


def _reading(reading: SiteMeterReading) -> Json:
    """A reading as the API takes it: registers as decimal strings."""
    fields: Json = {
        "at": reading.at.isoformat(),
        "import_register_kwh": str(reading.import_register_kwh),
        "export_register_kwh": str(reading.export_register_kwh),
    }
    for name in ("pv_register_kwh", "building_register_kwh"):
        register = getattr(reading, name)
        if register is not None:
            fields[name] = str(register)
    for name in ("grid_kw", "pv_kw", "building_kw", "battery_soc"):
        value = getattr(reading, name)
        if value is not None:
            fields[name] = value
    if reading.current_a is not None:
        fields["current_a"] = list(reading.current_a)
    return fields
