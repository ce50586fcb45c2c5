"""The static step: all sessions' state in fixed buffers on the device, one pass over rows of (slot, call, tokens)."""

from moshi_cluster.models.moshi_lm.static.generator import PREFILL_FRAMES, StaticGenerator
from moshi_cluster.models.moshi_lm.static.kv_rings import SPARE_PLACES
from moshi_cluster.models.moshi_lm.static.step import BUCKETS, buckets_for

__all__ = ["BUCKETS", "PREFILL_FRAMES", "SPARE_PLACES", "StaticGenerator", "buckets_for"]
