"""The Mimi codec, whole clips and frame by frame."""

from models.mimi.config import MimiConfig
from models.mimi.mimi import DEFAULT_CODEBOOKS, Mimi
from models.mimi.streaming import StreamingDecoder, StreamingEncoder

__all__ = ["DEFAULT_CODEBOOKS", "Mimi", "MimiConfig", "StreamingDecoder", "StreamingEncoder"]
