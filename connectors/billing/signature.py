"""Signatures of Standard Webhooks: HMAC-SHA256 over id, time and body (www.standardwebhooks.com, version 1)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from optimizer.errors import InvalidConfiguration

SECRET_PREFIX = "whsec_"
SECRET_LENGTH_BYTES = range(24, 65)


class WebhookSigner:
    """Signs with one secret, or with several while one is being replaced by another.

    Args:
        secrets: ``whsec_`` and the base64 of 24 to 64 random bytes, each; the receiver needs to know one of them.

    Raises:
        InvalidConfiguration: There is none, or one has another form.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets:
            raise InvalidConfiguration(
                "billing_webhook.secret", None, f"give a secret that starts with {SECRET_PREFIX}"
            )
        self._keys = [_key(secret) for secret in secrets]

    def signature(self, message_id: str, timestamp_s: int, body: bytes) -> str:
        """The value of the header ``webhook-signature``."""
        signed = f"{message_id}.{timestamp_s}.".encode() + body
        digests = [hmac.new(key, signed, hashlib.sha256).digest() for key in self._keys]
        return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(SECRET_PREFIX) or len(key) not in SECRET_LENGTH_BYTES:
        # The secret itself is kept out of the message.
        fix = f"give {SECRET_PREFIX} and the base64 of 24 to 64 random bytes"
        raise InvalidConfiguration("billing_webhook.secret", f"({len(secret)} characters)", fix)
    return key
