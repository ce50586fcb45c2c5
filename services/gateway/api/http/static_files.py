"""The files of the web page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

_INDEX = "index.html"
_PAGE_SETTINGS = "settings.json"  # no file: what this gateway allows the page

# Only these are served of our own page: the folder also holds what browsers have no use for.
_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/vnd.microsoft.icon",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}

# Pages of others hold more.
_MORE_CONTENT_TYPES = {
    ".htm": "text/html; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".xml": "application/xml",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".avif": "image/avif",
    ".woff": "font/woff",
    ".ttf": "font/ttf",
    ".otf": "font/otf",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".pdf": "application/pdf",
    ".onnx": "application/octet-stream",
}

_POLICY = (
    "default-src 'none'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "worker-src 'self' blob:",
    "style-src 'self'",
    "font-src 'self'",
    "img-src 'self' data: blob:",
    "media-src 'self' blob:",
    "manifest-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)

# What upstream's page needs, and what others are likely to: its decoder makes functions of strings, its parts bring
# styles of their own. No other site's script, no other host, no frame.
_POLICY_OF_OTHERS = (
    "default-src 'self' data: blob:",
    "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:",
    "worker-src 'self' blob: data:",
    "style-src 'self' 'unsafe-inline'",
    "object-src 'none'",
    "base-uri 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
)

_HEADERS = {
    "Cache-Control": "no-cache",  # kept, but asked about: a new version shows at once, an old one costs a 304
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",  # an address may hold a token
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class StaticFiles:
    """Serves one folder, read anew for every request; aiohttp answers conditional and range requests."""

    def __init__(self, folder: Path, allowed_worker_hosts: Sequence[str] = (), is_ours: bool = True) -> None:
        """allowed_worker_hosts: host[:port] of other servers that the page may talk to, where its address asks.

        is_ours: whether it is the page that comes along; one of others gets a policy that lets it work.
        """
        self._folder = folder.resolve()
        self._page_settings = {"worker_hosts": list(allowed_worker_hosts)}
        policy = _policy(_POLICY if is_ours else _POLICY_OF_OTHERS, allowed_worker_hosts)
        self._headers = {**_HEADERS, "Content-Security-Policy": policy}
        self._content_types = _CONTENT_TYPES if is_ours else _CONTENT_TYPES | _MORE_CONTENT_TYPES

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """A file, or 404 for what is not there, hidden, of no served type, or outside the folder."""
        path = request.match_info["path"] or _INDEX
        file = self._find(path)
        if file is not None:
            return web.FileResponse(file, headers={**self._headers, "Content-Type": self._content_types[file.suffix]})
        if path == _PAGE_SETTINGS:
            return web.json_response(self._page_settings, headers=self._headers)
        raise web.HTTPNotFound(headers=self._headers)

    def _find(self, path: str) -> Path | None:
        parts = path.split("/")
        if "\0" in path or any(not part or part.startswith(".") for part in parts):
            return None
        try:
            file = self._folder.joinpath(*parts).resolve()
            inside = file.is_relative_to(self._folder)  # also of what links point to
            return file if inside and file.suffix in self._content_types and file.is_file() else None
        except OSError:  # a name longer than any file's
            return None


def _policy(policy: Sequence[str], allowed_worker_hosts: Sequence[str]) -> str:
    """Content-Security-Policy: a page that somebody led astray still reaches no host but these and its own."""
    sources = [f"{scheme}://{host}" for host in allowed_worker_hosts for scheme in ("ws", "wss")]
    return "; ".join((*policy, " ".join(("connect-src 'self'", *sources))))
