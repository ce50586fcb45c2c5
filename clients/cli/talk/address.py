"""Address of a gateway's /api/chat: what is asked for in it, credentials apart, since addresses are logged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from moshi_cluster.clients.cli.talk.connection import CallOptions
from moshi_cluster.clients.telephony.access import Access
from moshi_cluster.clients.telephony.errors import BadInput

_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_CREDENTIALS = ("token", "worker_auth_id")  # what the page, and Moshi's own, have in their address


@dataclass(frozen=True)
class ChatAddress:
    """Where a WebSocket is, and the headers that ask for it."""

    url: str
    headers: dict[str, str] = field(repr=False)


def chat_address(url: str, options: CallOptions) -> ChatAddress:
    """Where the WebSocket is, with everything that the caller asks for. A token of the page's address becomes a header.

    Raises BadInput for what is no such URL.
    """
    parts = _parts(url)
    given = dict(parse_qsl(parts.query))
    tokens = [options.access.token, *(given.pop(name, None) for name in _CREDENTIALS)]
    access = Access(token=next(filter(None, tokens), None))
    if access.token and parts.username is not None:
        raise BadInput(f"{shown(url)}: one header has room for the token or for the name in the address, not for both")
    scheme = "wss" if options.access.tls else _SCHEMES[parts.scheme]
    path = parts.path if parts.path.endswith("/api/chat") else parts.path.rstrip("/") + "/api/chat"
    query = urlencode(given | _asked(options))
    return ChatAddress(urlunsplit((scheme, parts.netloc, path, query, "")), dict(access.headers()))


def shown(target: str) -> str:
    """A target for people: without what may be a secret."""
    scheme, separator, rest = target.partition("://")
    if not separator:
        return target
    authority, slash, path = rest.partition("?")[0].partition("#")[0].partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0
    except ValueError:  # brackets without end, a port beyond 65535
        is_url = False
    if not is_url:
        raise BadInput(f"{shown(url)}: expected host:port, or a URL with http, https, ws or wss")
    return parts


def _asked(options: CallOptions) -> dict[str, Any]:
    asked: dict[str, Any] = {"stats": "true"}
    if options.seed is not None:
        asked |= {"text_seed": options.seed, "audio_seed": options.seed}
    if options.greedy:
        asked |= {"text_temperature": 0, "audio_temperature": 0}
    if options.loopback:
        asked["loopback"] = "true"
    persona = {"text_prompt": options.persona.text_prompt, "voice_prompt": options.persona.voice}
    return asked | {name: value for name, value in persona.items() if value}
