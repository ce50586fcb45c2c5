"""The Mimi codec, for whole clips and frame by frame (docs/model.md 1)."""

from moshi_cluster.models.mimi.config import MimiConfig
from moshi_cluster.models.mimi.mimi import DEFAULT_CODEBOOKS, Mimi
from moshi_cluster.models.mimi.streaming import StreamingDecoder, StreamingEncoder

__all__ = ["DEFAULT_CODEBOOKS", "Mimi", "MimiConfig", "StreamingDecoder", "StreamingEncoder"]
