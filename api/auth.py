"""API keys: who calls, and what that caller may do. Only hashes of keys are kept."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from http import HTTPStatus

from api.problems import HttpProblem

# 256 bits: a key of this length needs no slow hash.
KEY_BYTES = 32


class Scope(StrEnum):
    """What a key permits; admin permits everything."""

    READ = "read"
    """See sites, sessions, plans, reservations and grid events."""
    RESERVE = "reserve"
    """Make and cancel reservations, state departure targets."""
    GRID = "grid"
    """Send and cancel grid events."""
    METER = "meter"
    """Push readings of the site meter."""
    OPERATE = "operate"
    """Start, stop, restart, lock and trigger stations, read their settings, send them lists of tokens."""
    BILLING = "billing"
    """See energy-cost records and bills, close billing windows."""
    ADMIN = "admin"
    """Everything."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One caller as the configuration names it."""

    name: str
    """Name in the log."""
    sha256_hex: str
    """Hash of the key."""
    scopes: frozenset[Scope]
    """What it permits."""

    def permits(self, scope: Scope) -> bool:
        """Whether the key is good for ``scope``."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


class KeyRing:
    """All keys that the service knows."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = tuple(keys)

    def caller(self, headers: Mapping[str, str]) -> ApiKey:
        """Who sent these headers (``Authorization: Bearer KEY`` or ``X-API-Key: KEY``).

        Raises:
            HttpProblem: 401, there is no key or an unknown one.
        """
        presented = _presented_key(headers)
        if presented is None:
            raise _unauthorized("send an API key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
        digest = hash_of(presented)
        found = None
        for key in self._keys:
            # Every key is compared, so that the time taken tells nothing.
            if hmac.compare_digest(key.sha256_hex, digest):
                found = key
        if found is None:
            raise _unauthorized("this API key is not known")
        return found


def require_scope(key: ApiKey, scope: Scope) -> None:
    """Let the caller pass if its key permits ``scope``.

    Raises:
        HttpProblem: 403.
    """
    if not key.permits(scope):
        held = ", ".join(sorted(key.scopes))
        raise HttpProblem(
            HTTPStatus.FORBIDDEN, "missing-scope", f"this needs the scope {scope}; key {key.name!r} holds {held}"
        )


def new_key() -> str:
    """A fresh random key."""
    return secrets.token_urlsafe(KEY_BYTES)


def hash_of(key: str) -> str:
    """The hash by which the configuration names a key."""
    return sha256(key.encode("utf-8", errors="surrogateescape")).hexdigest()


def _presented_key(headers: Mapping[str, str]) -> str | None:
    scheme, _, credentials = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return headers.get("X-API-Key") or None


def _unauthorized(detail: str) -> HttpProblem:
    return HttpProblem(
        HTTPStatus.UNAUTHORIZED, "unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="chargehorizon"'}
    )
