"""Loading of the LM from a checkpoint of any published layout."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from moshi_cluster.models.layers.quantised import QuantisedMatrix, Stored
from moshi_cluster.models.layers.quantised.quantise import per_group, per_row
from moshi_cluster.models.loading.adapters import OpenAdapters, adapted, open_adapters
from moshi_cluster.models.loading.checkpoint import Checkpoint
from moshi_cluster.models.loading.containers import open_tensors
from moshi_cluster.models.loading.errors import CheckpointError
from moshi_cluster.models.loading.fingerprint import fingerprint
from moshi_cluster.models.loading.names import PublishedTensors, inspect_names
from moshi_cluster.models.loading.opening import opened
from moshi_cluster.models.loading.published import INT4_GROUP
from moshi_cluster.models.loading.quantised_layouts import StoredTensors
from moshi_cluster.models.loading.served import served_config
from moshi_cluster.models.loading.tensor_file import TensorFile
from moshi_cluster.models.moshi_lm import LmConfig, MoshiLm
from moshi_cluster.models.moshi_lm.adapters import Adapter

_EARLY_EOS_ID, _PAD_ID = 2, 3


@dataclass(frozen=True)
class LmOptions:
    """How a checkpoint's LM is held."""

    quantize: str | None = None  # "int8" or "int4", for weights that are dense in the file
    fuse_lora: bool = True  # adapters become part of dense weights; False keeps them apart
    lora_scaling: float | None = None  # in place of config.json's


def load_lm(
    checkpoint: Checkpoint,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
    options: LmOptions = LmOptions(),
) -> MoshiLm:
    """The LM with activations of the given type, with a progress line on stderr.

    Raises CheckpointError, for models that hold no calls before anything of their weights is read.
    """
    config = served_config(checkpoint)
    quantise = QUANTISERS[options.quantize] if options.quantize else None
    with opened(checkpoint.lm_weights, "the LM", open_tensors) as file:
        stored = published_tensors(file, config)
        tensors, adapter = complete(stored, file.path, config, checkpoint, options)
        with naming_stored(stored):
            return MoshiLm.from_tensors(tensors, config, dtype, device, quantise, adapter)


def lm_fingerprint(checkpoint: Checkpoint, options: LmOptions) -> str:
    """The checkpoint's, or another one when the options change what the model computes."""
    if options == LmOptions() or (options.quantize is None and not checkpoint.has_lora):
        return checkpoint.fingerprint
    return fingerprint([{"checkpoint": checkpoint.fingerprint, **asdict(options)}], ())


def _four_bits(weight: Tensor) -> QuantisedMatrix:
    """In groups; 8 bits where the columns do not divide into them."""
    return per_row(weight) if weight.shape[1] % INT4_GROUP else per_group(weight, 4, INT4_GROUP)


QUANTISERS: Mapping[str, Callable[[Tensor], QuantisedMatrix]] = {"int8": per_row, "int4": _four_bits}
"""What `LmOptions.quantize` may be."""


def published_tensors(file: TensorFile[Stored], config: LmConfig) -> PublishedTensors:
    """The tensors of a file in any layout by their published PyTorch names. Raises ValueError naming the key."""
    names = inspect_names(file.path, file.entries)
    return PublishedTensors(StoredTensors(file), names, config.stored_schedule)


def complete(
    stored: PublishedTensors,
    path: Path,
    config: LmConfig,
    checkpoint: Checkpoint,
    options: LmOptions,
    open_file: OpenAdapters = open_adapters,
) -> tuple[Mapping[str, Stored], Adapter | None]:
    """The tensors that the model is built from, adapters and what upstream changes about them included.

    path: the LM's file; open_file: of the adapters. Raises CheckpointError.
    """
    scaling = checkpoint.lora_scaling if options.lora_scaling is None else options.lora_scaling
    blocks = config.stored_depth_blocks
    tensors, adapter = adapted(stored, checkpoint.lora_weights, scaling, options.fuse_lora, blocks, open_file)
    if checkpoint.has_lora and adapter is None:
        raise CheckpointError(
            f"{path}: config.json says lora, but names no lora_name and no adapters are here: give their file, or, if "
            "they are merged into this one, say `lora: false` in config.json"
        )
    return (_without_early_eos(tensors) if checkpoint.model_type == "hibiki" else tensors), adapter


@contextmanager
def naming_stored(tensors: PublishedTensors) -> Iterator[None]:
    """A model's errors begin with a published name; the file may have another for it."""
    try:
        yield
    except ValueError as error:
        name, colon, complaint = str(error).partition(": ")
        raise ValueError(f"{tensors.stored_name(name)}{colon}{complaint}") from error


def _without_early_eos(tensors: Mapping[str, Stored]) -> Mapping[str, Stored]:
    """Hibiki hears its own early end of sentence as padding (upstream's loader does the same)."""
    embedding = tensors.get("text_emb.weight")
    if embedding is None:  # the model itself says that it is missing
        return tensors
    if isinstance(embedding, QuantisedMatrix):
        parts = embedding.codes, embedding.scales, embedding.biases
        codes, scales, biases = (None if part is None else _row_copied(part) for part in parts)
        assert codes is not None and scales is not None  # only biases may be absent
        embedding = replace(embedding, codes=codes, scales=scales, biases=biases)
    else:
        embedding = _row_copied(embedding)
    changed: dict[str, Stored] = {"text_emb.weight": embedding}
    return ChainMap(changed, tensors)  # type: ignore[arg-type]  # the last map is only read


def _row_copied(rows: Tensor) -> Tensor:
    rows = rows.clone()
    rows[_EARLY_EOS_ID] = rows[_PAD_ID]
    return rows
