"""Which models hold calls: those that hear and speak at once."""

from __future__ import annotations

from moshi_cluster.models.loading.checkpoint import Checkpoint
from moshi_cluster.models.loading.opening import naming
from moshi_cluster.models.moshi_lm import LmConfig

_MUTE = "a model that turns speech into text and says nothing holds no call"
_DEAF = "a model that turns text into speech and hears nobody holds no call"
_OTHER_TASKS = {"stt": _MUTE, "tts": _DEAF}


def served_config(checkpoint: Checkpoint) -> LmConfig:
    """The configuration of a model that can be called. Raises CheckpointError naming the key and the reason."""
    with naming("config.json"):
        if checkpoint.model_type in _OTHER_TASKS:
            raise ValueError(f"model_type: {checkpoint.model_type!r}: {_OTHER_TASKS[checkpoint.model_type]}")
        config = LmConfig.from_dict(checkpoint.lm_config)
        if not config.dep_q:
            raise ValueError(f"dep_q: no stream is its own: {_MUTE}")
        if not config.user_codebooks:
            raise ValueError(f"n_q: all {config.n_q} streams are its own (dep_q): {_DEAF}")
        return config
