"""The page's files: the right ones, with the right headers, and nothing else of the machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientResponse, ClientSession, web

from moshi_cluster.services.gateway.api.http.static_files import StaticFiles

FILES = {
    "index.html": "<!doctype html>",
    "js/main.js": "export {};",
    "css/page.css": "body {}",
    "icon.svg": "<svg/>",
    "opus.wasm": "\0asm",
    "site.webmanifest": "{}",
    ".hidden.js": "secret",
    ".git/config.js": "secret",
    "package.json": "{}",
    "__init__.py": "",
    "README.md": "",
    "folder.js/inside.css": "",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    page = tmp_path / "page"
    for name, text in FILES.items():
        (page / name).parent.mkdir(parents=True, exist_ok=True)
        (page / name).write_text(text)
    (tmp_path / "secret.js").write_text("secret")
    (page / "link.js").symlink_to(tmp_path / "secret.js")
    (page / "outside").symlink_to(tmp_path)
    return page


@asynccontextmanager
async def served(folder: Path, *allowed_worker_hosts: str, is_ours: bool = True) -> AsyncIterator[int]:
    application = web.Application()
    application.router.add_get("/{path:.*}", StaticFiles(folder, allowed_worker_hosts, is_ours).handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def fetched(folder: Path, path: str, is_ours: bool = True, **headers: str) -> AsyncIterator[ClientResponse]:
    async with (
        served(folder, is_ours=is_ours) as port,
        ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}", headers=headers) as response,
    ):
        yield response


CONTENT_TYPES = {
    "/": "text/html; charset=utf-8",
    "/index.html": "text/html; charset=utf-8",
    "/?worker_addr=elsewhere:8998": "text/html; charset=utf-8",
    "/js/main.js": "text/javascript; charset=utf-8",
    "/css/page.css": "text/css; charset=utf-8",
    "/icon.svg": "image/svg+xml",
    "/opus.wasm": "application/wasm",
    "/site.webmanifest": "application/manifest+json",
}


@pytest.mark.parametrize(("path", "content_type"), CONTENT_TYPES.items())
async def test_a_file_has_its_content_type_and_is_guarded(folder: Path, path: str, content_type: str) -> None:
    async with fetched(folder, path) as response:
        name = path.split("?")[0].lstrip("/") or "index.html"
        assert (response.status, await response.text()) == (200, FILES[name])
        assert response.headers["Content-Type"] == content_type
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["Cache-Control"] == "no-cache"
        policy = response.headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", "frame-ancestors 'none'"} <= set(policy)
        assert "unsafe-inline" not in response.headers["Content-Security-Policy"]


async def test_a_file_that_has_not_changed_is_not_sent_again(folder: Path) -> None:
    async with fetched(folder, "/js/main.js") as response:
        tag = response.headers["ETag"]
    async with fetched(folder, "/js/main.js", **{"If-None-Match": tag}) as response:
        assert response.status == 304
    (folder / "js/main.js").write_text("export { something_else };")
    async with fetched(folder, "/js/main.js", **{"If-None-Match": tag}) as response:
        assert response.status == 200


NOT_SERVED = [
    *("/nothing.js", "/js", "/js/", "/folder.js", "/index.html/", "//index.html", "/js//main.js"),
    *("/.hidden.js", "/.git/config.js", "/package.json", "/__init__.py", "/README.md"),
    *("/link.js", "/outside/secret.js"),
    *("/../secret.js", "/js/../../secret.js", "/%2e%2e/secret.js", "/js/..%2f..%2fsecret.js", "/..%5csecret.js"),
    *("/%00", "/main.js%00.html", "/index.html%00", "/" + "a" * 5000 + ".js", "/%ff%fe.js"),
]


@pytest.mark.parametrize("path", NOT_SERVED, ids=lambda path: path[:30])
async def test_everything_else_is_not_found(folder: Path, path: str) -> None:
    """Sent as it stands: client libraries tidy paths up."""
    async with served(folder) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        assert answer.split()[1] in (b"404", b"400")
        assert b"secret" not in answer


async def test_a_missing_folder_is_not_found(tmp_path: Path) -> None:
    async with fetched(tmp_path / "nowhere", "/") as response:
        assert response.status == 404


@pytest.mark.parametrize(
    ("allowed", "sources"),
    [
        ((), "connect-src 'self'"),
        (
            ("gpu7:8998", "b.example"),
            "connect-src 'self' ws://gpu7:8998 wss://gpu7:8998 ws://b.example wss://b.example",
        ),
    ],
)
async def test_the_page_reaches_its_own_server_and_those_that_the_operator_allows(
    folder: Path, allowed: tuple[str, ...], sources: str
) -> None:
    async with served(folder, *allowed) as port, ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/") as response:
            assert sources in response.headers["Content-Security-Policy"].split("; ")
        async with session.get(f"http://127.0.0.1:{port}/settings.json") as response:
            assert await response.json() == {"worker_hosts": list(allowed)}
            assert response.headers["X-Content-Type-Options"] == "nosniff"


# --- pages of others

OTHERS = {
    "photo.jpg": "image/jpeg",
    "photo.jpeg": "image/jpeg",
    "spinner.gif": "image/gif",
    "data.json": "application/json",
    "assets/index.js.map": "application/json",
    "font.woff": "font/woff",
    "font.ttf": "font/ttf",
    "terms.txt": "text/plain; charset=utf-8",
    "hello.mp3": "audio/mpeg",
    "film.webm": "video/webm",
    "index.html": "text/html; charset=utf-8",
}


@pytest.mark.parametrize(("name", "content_type"), OTHERS.items())
async def test_a_page_of_others_has_files_of_more_kinds(tmp_path: Path, name: str, content_type: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("what they made")
    async with fetched(tmp_path, f"/{name}", is_ours=False) as response:
        assert (response.status, response.headers["Content-Type"]) == (200, content_type)


async def test_a_page_of_others_may_do_what_upstreams_page_does_and_reaches_no_other_host(folder: Path) -> None:
    """Its decoder makes functions of strings, its parts bring styles along."""
    async with fetched(folder, "/", is_ours=False) as response:
        policy = dict(rule.split(" ", 1) for rule in response.headers["Content-Security-Policy"].split("; "))
        assert {"'self'", "'unsafe-eval'", "'unsafe-inline'", "blob:"} <= set(policy["script-src"].split())
        assert "'unsafe-inline'" in policy["style-src"]
        assert policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert not any("http" in sources or "*" in sources for sources in policy.values())


@pytest.mark.parametrize("path", ["/.hidden.js", "/.git/config.js", "/link.js", "/outside/secret.js", "/__init__.py"])
async def test_a_page_of_others_is_guarded_as_well(folder: Path, path: str) -> None:
    async with fetched(folder, path, is_ours=False) as response:
        assert response.status == 404


async def test_a_page_of_others_has_a_settings_file_of_its_own(folder: Path) -> None:
    (folder / "settings.json").write_text("{}")
    async with fetched(folder, "/settings.json", is_ours=False) as response:
        assert await response.text() == "{}"
