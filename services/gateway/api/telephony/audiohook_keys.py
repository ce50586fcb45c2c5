"""API keys of Genesys AudioHook, their client secrets, and who may show them."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from moshi_cluster.services.common.errors import Unauthenticated
from moshi_cluster.services.common.secret_lines import secret_lines
from moshi_cluster.services.common.settings import SettingError
from moshi_cluster.services.gateway.api.telephony.http_signature import HttpSignature
from moshi_cluster.services.gateway.api.telephony.wire import Request
from moshi_cluster.services.gateway.settings import PREFIX

_VARIABLE = f"{PREFIX}GENESYS_KEY_FILE"
_SIGNED_HEADERS = ("audiohook-organization-id", "audiohook-session-id", "audiohook-correlation-id", "x-api-key")
_COVERED = {"@request-target", "@authority", *_SIGNED_HEADERS}
_LEAST_NONCE_CHARACTERS = 22
_MOST_SKEW_S = 10  # between two clocks, and on the way


@dataclass(frozen=True)
class AudioHookKey:
    """A client secret, and the organisation that has it."""

    secret: bytes = field(repr=False)
    organization: str | None
    """Its id; None: any."""


def read_keys(path: str) -> Mapping[str, AudioHookKey]:
    """Keys by their API key, from lines of `API-KEY CLIENT-SECRET [ORGANIZATION-ID]`. Raises SettingError."""
    return dict(_key(line, place) for place, line in secret_lines(path, _VARIABLE, "key"))


def require_signature(request: Request, keys: Mapping[str, AudioHookKey], now_s: float) -> AudioHookKey:
    """The key that signed the request. now_s: since 1970. Raises Unauthenticated."""
    signature = HttpSignature.of(request.headers)
    if not set(signature.components) >= _COVERED:
        raise Unauthenticated("the request's signature does not cover enough")
    _check_parameters(signature.parameters, request.headers.get("X-API-KEY", ""), now_s)
    known = keys.get(signature.parameters["keyid"])
    secret = known.secret if known else secrets.token_bytes(32)  # an unknown key takes as long as a wrong secret
    headers = {name: request.headers.get(name, "").strip() for name in signature.components if name[0] != "@"}
    matches = [
        signature.is_by(secret, {**headers, "@request-target": request.target, "@authority": host.lower()})
        for host in request.hosts
    ]
    if known is None or not any(matches):
        raise Unauthenticated("the request is not signed by a key that is known")
    if known.organization not in (None, request.headers.get("Audiohook-Organization-Id", "").lower()):
        raise Unauthenticated("the key belongs to another organization")
    return known


def _check_parameters(parameters: Mapping[str, str], api_key: str, now_s: float) -> None:
    if parameters.get("alg", "hmac-sha256") != "hmac-sha256":
        raise Unauthenticated("the request's signature must be hmac-sha256")
    if not api_key or parameters.get("keyid") != api_key:
        raise Unauthenticated("the request's signature and its API key differ")
    if len(parameters.get("nonce", "")) < _LEAST_NONCE_CHARACTERS:
        raise Unauthenticated("the request's signature has no nonce, or a short one")
    created_s = _time_s(parameters.get("created", "0"))
    expires_s = _time_s(parameters.get("expires", str(created_s + _MOST_SKEW_S)))
    if abs(now_s - created_s) > _MOST_SKEW_S or expires_s < now_s - _MOST_SKEW_S:
        raise Unauthenticated("the request was not signed just now")


def _time_s(text: str) -> int:
    """Seconds since 1970; 0 for what is no number."""
    return int(text) if text.isascii() and text.isdigit() else 0


def _key(line: str, place: str) -> tuple[str, AudioHookKey]:
    words = line.split()
    if len(words) not in (2, 3):
        raise SettingError(f"{_VARIABLE}: {place}: expected API-KEY CLIENT-SECRET [ORGANIZATION-ID]")
    try:
        secret = base64.b64decode(words[1], validate=True)
    except binascii.Error:
        raise SettingError(f"{_VARIABLE}: {place}: the client secret is no base64") from None
    if not secret:
        raise SettingError(f"{_VARIABLE}: {place}: the client secret is empty")
    return words[0], AudioHookKey(secret, words[2].lower() if len(words) == 3 else None)
