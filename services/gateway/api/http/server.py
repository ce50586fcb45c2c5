"""The gateway's HTTP port: the web page, /api/chat, /health."""

from __future__ import annotations

import logging
from pathlib import Path

from aiohttp import web

import moshi_cluster
from moshi_cluster.services.gateway.api.http.static_files import StaticFiles
from moshi_cluster.services.gateway.api.http.tunnel import open_tunnel
from moshi_cluster.services.gateway.api.tls import context_of
from moshi_cluster.services.gateway.api.websocket.handler import WebSocketHandler
from moshi_cluster.services.gateway.calls.manager import CallManager
from moshi_cluster.services.gateway.settings import DEFAULT_WEB_DIR, GatewaySettings

_PACKAGE = Path(moshi_cluster.__file__).parent
_STOP_GRACE_S = 2.0  # by then every call is over; what is left is closing

_log = logging.getLogger(__name__)


class HttpServer:
    """Listens from `start` to `stop`. Runs in the process's event loop."""

    def __init__(self, settings: GatewaySettings, manager: CallManager) -> None:
        self._settings = settings
        self._manager = manager
        self._chat = WebSocketHandler(settings, manager)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Raises OSError when the port is taken, SettingError for a bad certificate or a tunnel that cannot be."""
        settings = self._settings
        tls = context_of(Path(settings.tls_dir), settings.tls_self_signed) if settings.tls_dir else None
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=_STOP_GRACE_S)
        await runner.setup()
        self._runner = runner
        await web.TCPSite(runner, settings.host, settings.http_port, ssl_context=tls).start()
        _log.info("listening http_port=%d tls=%s", self.port, bool(tls))
        if settings.gradio_tunnel:
            _log.info("public address=%s; relayed, which may cost half a second", await open_tunnel(self.port))

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._runner is not None, "not started"
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Waits a little for connections that are closing, and ends the rest."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application()
        application.on_shutdown.append(lambda _: self._chat.stop())
        application.router.add_get("/api/chat", self._chat.handle)
        application.router.add_get("/health", self._health)
        if self._settings.web_dir:
            files = StaticFiles(_web_folder(self._settings.web_dir), self._settings.allowed_worker_hosts)
            application.router.add_get("/{path:.*}", files.handle)
        return application

    async def _health(self, request: web.Request) -> web.Response:
        """For load balancers that know no gRPC health: 200 while calls are taken, 503 otherwise."""
        if self._manager.takes_calls:
            return web.Response(text="serving\n")
        return web.Response(text="not serving\n", status=503)


def _web_folder(web_dir: str) -> Path:
    """The page that comes with this package where the setting was left alone, else a folder as the operator sees it."""
    return _PACKAGE / web_dir if web_dir == DEFAULT_WEB_DIR else Path(web_dir)
