"""The files of the web page."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

_INDEX = "index.html"

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

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "worker-src 'self' blob:",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "manifest-src 'self'",
        "connect-src 'self' ws: wss:",  # the page may talk to another server than its own
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

_HEADERS = {
    "Cache-Control": "no-cache",  # kept, but asked about: a new version shows at once, an old one costs a 304
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",  # an address may hold a token
    "X-Content-Type-Options": "nosniff",
}


class StaticFiles:
    """Serves one folder, read anew for every request; aiohttp answers conditional and range requests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """A file, or 404 for what is not there, hidden, of no served type, or outside the folder."""
        file = self._find(request.match_info["path"] or _INDEX)
        if file is None:
            raise web.HTTPNotFound(headers=_HEADERS)
        return web.FileResponse(file, headers={**_HEADERS, "Content-Type": _CONTENT_TYPES[file.suffix]})

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
