"""Twilio: its Media Streams, and the signature of its requests (X-Twilio-Signature)."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterator, Sequence

from moshi_cluster.services.common.errors import Unauthenticated
from moshi_cluster.services.common.secret_lines import secret_lines
from moshi_cluster.services.gateway.api.telephony.media_streams import TWILIO, MediaStreamsWire
from moshi_cluster.services.gateway.api.telephony.wire import OpenWire, Request, Wire
from moshi_cluster.services.gateway.settings import PREFIX, GatewaySettings

_HEADER = "X-Twilio-Signature"


def twilio(settings: GatewaySettings) -> OpenWire:
    """With a file of auth tokens every request must be signed with one of them. Raises SettingError."""
    path = settings.twilio_token_file
    secrets = [line for _, line in secret_lines(path, f"{PREFIX}TWILIO_TOKEN_FILE", "token")] if path else []

    def open_wire(request: Request) -> Wire:
        if secrets and not is_signed(request, secrets):
            raise Unauthenticated("the request is not signed by this account")
        return MediaStreamsWire(TWILIO, request, is_authenticated=bool(secrets))

    return open_wire


def is_signed(request: Request, secrets: Sequence[str]) -> bool:
    """Whether the signature is of this request: base64 of the HMAC-SHA1 of its URL, as Twilio was given it."""
    shown = request.headers.get(_HEADER, "").encode("utf-8", "surrogateescape")
    expected = [_signature(url, secret) for url in _urls(request) for secret in secrets]
    return bool(sum(hmac.compare_digest(shown, signature) for signature in expected))  # looks at all of them


def _signature(url: str, secret: str) -> bytes:
    return base64.b64encode(hmac.digest(secret.encode(), url.encode(), "sha1"))


def _urls(request: Request) -> Iterator[str]:
    """How the URL may have been written: a proxy has taken TLS off, a port that goes without saying left out."""
    for scheme in ("wss", "https", "ws", "http"):
        for name in request.hosts:
            for host in dict.fromkeys((name, name.removesuffix(":443"), f"{name}:443")):
                yield f"{scheme}://{host}{request.target}"
