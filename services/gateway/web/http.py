"""The gateway's HTTP port: the web page, /api/chat, /health."""

from __future__ import annotations

import logging
from pathlib import Path

from aiohttp import web

from services.gateway.settings import GatewaySettings
from services.gateway.switchboard import Switchboard
from services.gateway.tls import context_of
from services.gateway.web.chat_edge import ChatEdge
from services.gateway.web.page import Page
from services.gateway.web.tunnel import open_tunnel

_ROOT = Path(__file__).parents[3]
_STOP_GRACE_S = 2.0  # by then every call is over; what is left is closing

_log = logging.getLogger(__name__)


class HttpEdge:
    """Listens from `start` to `stop`. Runs in the process's event loop."""

    def __init__(self, settings: GatewaySettings, board: Switchboard) -> None:
        self._settings = settings
        self._board = board
        self._chat = ChatEdge(settings, board)
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
            application.router.add_get("/{path:.*}", Page(_ROOT / self._settings.web_dir).handle)
        return application

    async def _health(self, request: web.Request) -> web.Response:
        """For load balancers that know no gRPC health: 200 while calls are taken, 503 otherwise."""
        if self._board.takes_calls:
            return web.Response(text="serving\n")
        return web.Response(text="not serving\n", status=503)
