"""The files of the web page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

_INDEX = "index.html"
_PAGE_SETTINGS = "settings.json"  # no file: what this gateway allows the page

# Only these are served: the folder also holds what browsers have no use for.
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

_HEADERS = {
    "Cache-Control": "no-cache",  # kept, but asked about: a new version shows at once, an old one costs a 304
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",  # an address may hold a token
    "X-Content-Type-Options": "nosniff",
}


class StaticFiles:
    """Serves one folder, read anew for every request; aiohttp answers conditional and range requests."""

    def __init__(self, folder: Path, allowed_worker_hosts: Sequence[str] = ()) -> None:
        """allowed_worker_hosts: host[:port] of other servers that the page may talk to, where its address asks."""
        self._folder = folder.resolve()
        self._page_settings = {"worker_hosts": list(allowed_worker_hosts)}
        self._headers = {**_HEADERS, "Content-Security-Policy": _policy(allowed_worker_hosts)}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """A file, or 404 for what is not there, hidden, of no served type, or outside the folder."""
        path = request.match_info["path"] or _INDEX
        if path == _PAGE_SETTINGS:
            return web.json_response(self._page_settings, headers=self._headers)
        file = self._find(path)
        if file is None:
            raise web.HTTPNotFound(headers=self._headers)
        return web.FileResponse(file, headers={**self._headers, "Content-Type": _CONTENT_TYPES[file.suffix]})

    def _find(self, path: str) -> Path | None:
        parts = path.split("/")
        if "\0" in path or any(not part or part.startswith(".") for part in parts):
            return None
        try:
            file = self._folder.joinpath(*parts).resolve()
            inside = file.is_relative_to(self._folder)  # also of what links point to
            return file if inside and file.suffix in _CONTENT_TYPES and file.is_file() else None
        except OSError:  # a name longer than any file's
            return None


def _policy(allowed_worker_hosts: Sequence[str]) -> str:
    """Content-Security-Policy: a page that somebody led astray still reaches no host but these and its own."""
    sources = [f"{scheme}://{host}" for host in allowed_worker_hosts for scheme in ("ws", "wss")]
    return "; ".join((*_POLICY, " ".join(("connect-src 'self'", *sources))))
