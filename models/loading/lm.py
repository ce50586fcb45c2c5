"""Loading of the LM from a checkpoint of any published layout."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from moshi_cluster.models.layers.quantised import QuantisedMatrix, Stored
from moshi_cluster.models.layers.quantised.quantise import per_group, per_row
from moshi_cluster.models.loading.adapters import adapted
from moshi_cluster.models.loading.checkpoint import Checkpoint
from moshi_cluster.models.loading.containers import open_tensors
from moshi_cluster.models.loading.errors import CheckpointError
from moshi_cluster.models.loading.fingerprint import fingerprint
from moshi_cluster.models.loading.names import PublishedTensors, inspect_names
from moshi_cluster.models.loading.opening import naming, opened
from moshi_cluster.models.loading.published import INT4_GROUP
from moshi_cluster.models.loading.quantised_layouts import StoredTensors
from moshi_cluster.models.loading.tensor_file import TensorFile
from moshi_cluster.models.moshi_lm import LmConfig, MoshiLm

_EARLY_EOS_ID, _PAD_ID = 2, 3


@dataclass(frozen=True)
class LmOptions:
    """How a checkpoint's LM is held."""

    quantize: str | None = None  # "int8" or "int4", for weights that are dense in the file
    fuse_lora: bool = True  # adapters become part of dense weights; False keeps them apart


def load_lm(
    checkpoint: Checkpoint,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
    options: LmOptions = LmOptions(),
) -> MoshiLm:
    """The LM with activations of the given type, with a progress line on stderr. Raises CheckpointError."""
    with naming("config.json"):
        config = LmConfig.from_dict(checkpoint.lm_config)
    quantise = QUANTISERS[options.quantize] if options.quantize else None
    with opened(checkpoint.lm_weights, "the LM", open_tensors) as file:
        stored = published_tensors(file, config)
        tensors, adapter = adapted(
            stored, checkpoint.lora_weights, checkpoint.lora_scaling, options.fuse_lora, config.depth_blocks
        )
        if checkpoint.has_lora and adapter is None:
            raise CheckpointError(
                f"{file.path}: config.json says lora, but names no file of adapters and none are here"
            )
        if checkpoint.model_type == "hibiki":
            tensors = _without_early_eos(tensors)
        with _naming_stored(stored):
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
    return PublishedTensors(StoredTensors(file), names, config.depformer_weights_per_step_schedule)


@contextmanager
def _naming_stored(tensors: PublishedTensors) -> Iterator[None]:
    """A model's errors begin with a published name; the file may have another for it."""
    try:
        yield
    except ValueError as error:
        name, colon, complaint = str(error).partition(": ")
        raise ValueError(f"{tensors.stored_name(name)}{colon}{complaint}") from error


def _without_early_eos(tensors: Mapping[str, Stored]) -> Mapping[str, Stored]:
    """Hibiki hears its own early end of sentence as padding (upstream's loader does the same)."""
    embedding = tensors["text_emb.weight"]
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
