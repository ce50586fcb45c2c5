"""Checkpoint loading: the files of a repository, of a folder, or single ones, found, opened and named.

What a worker needs of one part only is imported from its own module, so that a codec worker installs nothing of the
LM's: `models.loading.lm.load_lm`, `models.loading.mimi.load_mimi`, `models.loading.tokenizer.Tokenizer`.
"""

from moshi_cluster.models.loading.checkpoint import Checkpoint, FileNames, Part, codec_fingerprint, resolve
from moshi_cluster.models.loading.errors import CheckpointError, MissingFileError, MissingTensorError
from moshi_cluster.models.loading.safetensors_file import SafetensorsFile

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "FileNames",
    "MissingFileError",
    "MissingTensorError",
    "Part",
    "SafetensorsFile",
    "codec_fingerprint",
    "resolve",
]
