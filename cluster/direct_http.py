"""HTTP to this machine's own processes, past whatever proxy the environment names."""

from __future__ import annotations

import ssl
import urllib.request
from http.client import HTTPResponse


def open_direct(url: str, timeout_s: float, context: ssl.SSLContext | None = None) -> HTTPResponse:
    """The answer to a GET. context: for HTTPS. Raises OSError."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    answer: HTTPResponse = urllib.request.build_opener(*handlers).open(url, timeout=timeout_s)
    return answer
