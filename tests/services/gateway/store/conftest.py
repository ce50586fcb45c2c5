"""A store of the test's own."""

from __future__ import annotations

from tests.services.gateway.store.redis_server import key_file, redis

__all__ = ["key_file", "redis"]
