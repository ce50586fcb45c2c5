"""Moshi's language model: the Temporal and the Depth Transformer, and the generator that steps sessions."""

from moshi_cluster.models.moshi_lm.config import LmConfig
from moshi_cluster.models.moshi_lm.generator import Generator
from moshi_cluster.models.moshi_lm.model import MoshiLm
from moshi_cluster.models.sampling import Sampling

__all__ = ["Generator", "LmConfig", "MoshiLm", "Sampling"]
