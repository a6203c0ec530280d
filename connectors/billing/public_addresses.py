"""Keeps requests that leave for the internet from ending inside the private network."""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_address

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver


def is_public(address: str) -> bool:
    """Whether an IP address is reachable from the internet."""
    return ip_address(address.partition("%")[0]).is_global


class PublicAddressResolver(AbstractResolver):
    """Resolves names to public addresses only, at the very moment of connecting.

    Args:
        resolver: Does the look-up; ``None``: the system's.
    """

    def __init__(self, resolver: AbstractResolver | None = None) -> None:
        self._resolver = resolver or DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Public addresses of ``host``.

        Raises:
            OSError: There is none.
        """
        found = await self._resolver.resolve(host, port, family)
        public = [entry for entry in found if is_public(entry["host"])]
        if not public:
            raise OSError(errno.EACCES, f"{host} has no public address; set allow_private_address to send to it")
        return public

    async def close(self) -> None:
        """Release the resolver."""
        await self._resolver.close()
