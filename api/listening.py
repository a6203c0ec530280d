"""Listening on a port, with one clear message where that cannot be."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from optimizer.errors import InvalidConfiguration

BACKLOG = 4096
"""Connections that may wait to be taken: after a power cut all stations of a large site come at once."""


@asynccontextmanager
async def listening(
    section: str, runner: web.AppRunner, host: str, port: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve an application on ``host`` and ``port``; gives the port in use, which differs where 0 was asked for.

    Args:
        section: Section of the configuration that names host and port.
        runner: What serves.
        host: Address.
        port: Port.
        tls: Certificate and key; ``None``: no TLS.

    Raises:
        InvalidConfiguration: The address is not ours, or the port is taken.
    """
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, backlog=BACKLOG, ssl_context=tls).start()
        except OSError as error:
            fix = f"give an address of this machine and a free port: {error.strerror or error}"
            raise InvalidConfiguration(f"{section}.port", f"{host}:{port}", fix) from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
