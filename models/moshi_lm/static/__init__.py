"""The static step: all sessions' state in fixed buffers on the device, one pass over rows of (slot, call, tokens)."""

from moshi_cluster.models.moshi_lm.static.generator import StaticGenerator
from moshi_cluster.models.moshi_lm.static.step import BUCKETS

__all__ = ["BUCKETS", "StaticGenerator"]
