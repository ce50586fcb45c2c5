"""Stop signals: who tells a process to stop, and who tells it to stop now."""

from __future__ import annotations

import asyncio
import os
import signal
import stat

from moshi_cluster.services.common.settings import SettingError

_STDIN = 0
_STDIN_BYTES = 4096


class StopSignals:
    """SIGTERM, SIGINT and SIGHUP ask for a stop; a second SIGTERM or SIGINT for one without a grace.

    A terminal that closes sends SIGHUP, often twice and beside SIGTERM: it never shortens the grace. A process started
    with nohup goes on ignoring it.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        """Set once a stop is asked for."""
        self.stop_now = asyncio.Event()
        """Set once it is asked for again, by somebody who does not want to wait."""
        self._asked = False
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_request)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, self.stop.set)

    def follow_stdin(self, prefix: str) -> None:
        """Stops when standard input ends. Raises SettingError where it is no pipe: a terminal is its shell's."""
        kind = os.fstat(_STDIN).st_mode
        if not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
            raise SettingError(f"{prefix}ATTACHED: standard input is no pipe")
        asyncio.get_running_loop().add_reader(_STDIN, self._on_stdin)

    def _on_stdin(self) -> None:
        try:
            if os.read(_STDIN, _STDIN_BYTES):
                return
        except BlockingIOError:
            return  # another process that has the same pipe has read it
        except OSError:
            pass  # as good as its end
        asyncio.get_running_loop().remove_reader(_STDIN)
        self.stop.set()

    def _on_request(self) -> None:
        if self._asked:
            self.stop_now.set()
        self._asked = True
        self.stop.set()
