"""Webhooks: messages posted to an address, signed by the Standard Webhooks specification (standardwebhooks.com)."""

import base64
import binascii
import hashlib
import hmac
import os
import re
import time
from http.client import HTTPException
from urllib.parse import unquote

from anomalyclip.errors import UsageError
from anomalyclip.live.sinks.couriers import RefusedError, UndeliveredError
from anomalyclip.live.sinks.http_post import post
from anomalyclip.live.sinks.messages import Message
from anomalyclip.live.sinks.receiver_address import receiver_address
from anomalyclip.redaction import without_login

SECRET = "ANOMALYCLIP_WEBHOOK_SECRET"  # noqa: S105  (the name of the variable)
"""Environment variable with the secret of the signatures: `whsec_` and 24 to 64 bytes in base64."""
NEVER = (400, 413, 422)
"""Answers that mean this message, not the receiver: any other failure is tried again."""


class Webhook:
    """A receiver of messages by HTTP; any answer from 200 to 299 means that it has them."""

    def __init__(self, url: str, secret: bytes | None) -> None:
        """Take an address (http or https); raises UsageError for another one."""
        usage = "--webhook takes an address such as https://hooks.example.org/events"
        parts, port = receiver_address(url, ("http", "https"), usage)
        self.name = f"webhook {parts.scheme}://{parts.hostname}" + (f":{port}" if port else "")
        self.key = f"webhook {hashlib.sha256(without_login(url).encode()).hexdigest()[:16]}"
        self._address, self._secret = parts, secret
        self._headers = {"Content-Type": "application/json", "User-Agent": "anomalyclip"}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"

    def open(self) -> None:
        """Do nothing: each message has a connection of its own."""

    def send(self, message: Message) -> None:
        """Post a message, once; raises UndeliveredError or RefusedError."""
        body = message.as_json().encode()
        headers = self._headers | signature(self._secret, message.message, int(time.time()), body)
        try:
            status = post(self._address, body, headers)
        except (OSError, HTTPException) as error:
            raise UndeliveredError(_reason(error)) from None
        if status in NEVER:
            raise RefusedError(f"HTTP {status}")
        if not 200 <= status < 300:
            redirect = ", a redirect, which is not followed: give the address itself" if status < 400 else ""
            raise UndeliveredError(f"HTTP {status}{redirect}")

    def close(self) -> None:
        """Do nothing."""


def signature(secret: bytes | None, message: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of the specification: the message's id, the time, and the signature if there is a secret."""
    headers = {"webhook-id": message, "webhook-timestamp": str(timestamp)}
    if secret is not None:
        signed = hmac.new(secret, f"{message}.{timestamp}.".encode() + body, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(signed).decode()}"
    return headers


def webhook_secret() -> bytes | None:
    """Return the secret of the environment, None without one; raises UsageError for one that is not usable."""
    if not (text := os.environ.get(SECRET, "").strip()):
        return None
    try:
        secret = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        secret = b""
    if not text.startswith("whsec_") or not 24 <= len(secret) <= 64:
        raise UsageError(
            f"{SECRET} must be whsec_ and 24 to 64 bytes in base64: make one by "
            '`echo "whsec_$(openssl rand -base64 32)"`'
        )
    return secret


def _reason(error: Exception) -> str:
    """Return what went wrong in a few words, without the address: its path may be a secret."""
    known = re.search(r"Connection refused|Name or service not known|certificate verify failed|timed out", str(error))
    return known[0] if known else type(error).__name__
