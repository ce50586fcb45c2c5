"""What a worker needs of whatever answers its sessions' frames: the engine of this process, or one far away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from moshi_cluster.services.common.errors import SessionError
from moshi_cluster.services.common.worker.session import Session
from moshi_cluster.services.common.worker.slots import SlotTable


class SessionEngine(Protocol):
    """Slots and sessions by program. All of it is called on the event loop."""

    on_slots_changed: Callable[[], None]

    @property
    def tables(self) -> list[SlotTable]:
        """The programs' slot tables."""

    def open(self, program_name: str, spec: Any = None) -> Session:
        """Takes a slot. Raises NoFreeSlot, or what else keeps it from answering."""

    def close(self, session: Session) -> None:
        """Ends a session, whatever it was doing; its slot is free once it is as good as new."""

    def fail_sessions(self, error: SessionError) -> None:
        """Ends every session with an error, after the replies that it already has."""

    async def stop(self) -> None:
        """Ends what runs for it."""
