"""Tensor names of PyTorch, MLX and Candle, and which of them a file uses (docs/model.md 4.4, 4.5)."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

import torch
from torch import Tensor

from moshi_cluster.models.layers.quantised import QuantisedMatrix, Stored
from moshi_cluster.models.loading.errors import CheckpointError

# Left: the name in the file. Right: the published PyTorch name. {i} layer, {j} norm, {k} step of the Depth
# Transformer, {s(k)} the block of weights of that step; what is not listed has the same name.
MLX = (
    ("audio_embs.{i}.weight", "emb.{i}.weight"),
    ("out_norm.weight", "out_norm.alpha"),
    ("transformer.layers.{i}.norm{j}.weight", "transformer.layers.{i}.norm{j}.alpha"),
    ("depformer.slices.{k}.linear_in.weight", "depformer_in.{s(k)}.weight"),
    ("depformer.slices.{k}.linear_out.weight", "linears.{k}.weight"),
    ("depformer.slices.0.emb.{rest}", "depformer_text_emb.{rest}"),
    ("depformer.slices.{k}.emb.{rest}", "depformer_emb.{k-1}.{rest}"),
    ("depformer.slices.{k}.transformer.layers.{i}.norm{j}.weight", "depformer.layers.{i}.norm{j}.alpha"),
    (
        "depformer.slices.{k}.transformer.layers.{i}.self_attn.in_proj.weight",
        "depformer.layers.{i}.self_attn.in_projs.{s(k)}.weight",
    ),
    (
        "depformer.slices.{k}.transformer.layers.{i}.self_attn.out_proj.weight",
        "depformer.layers.{i}.self_attn.out_projs.{s(k)}.weight",
    ),
    ("depformer.slices.{k}.transformer.layers.{i}.gating.{rest}", "depformer.layers.{i}.gating.{s(k)}.{rest}"),
)
CANDLE = (
    ("depformer.{k}.linear_in.weight", "depformer_in.{s(k)}.weight"),
    ("depformer.{k}.linear_out.weight", "linears.{k}.weight"),
    ("depformer.0.emb.{rest}", "depformer_text_emb.{rest}"),
    ("depformer.{k}.emb.{rest}", "depformer_emb.{k-1}.{rest}"),
    ("depformer.{k}.transformer.layers.{i}.norm{j}.alpha", "depformer.layers.{i}.norm{j}.alpha"),
    (
        "depformer.{k}.transformer.layers.{i}.self_attn.in_proj{_}weight",
        "depformer.layers.{i}.self_attn.in_projs.{s(k)}.weight",
    ),
    (
        "depformer.{k}.transformer.layers.{i}.self_attn.out_proj.weight",
        "depformer.layers.{i}.self_attn.out_projs.{s(k)}.weight",
    ),
    ("depformer.{k}.transformer.layers.{i}.gating.{rest}", "depformer.layers.{i}.gating.{s(k)}.{rest}"),
)
# Linear layers with an adapter keep their own weight under another name.
PYTORCH = (("{rest}.frozen_W.weight", "{rest}.weight"),)

_FIELDS = {"rest": r".+", "_": r"[._]"}  # all others are numbers
_SPELT = {"block": "s(k)", "before": "k-1", "separator": "_"}  # names of groups that cannot be spelt in a pattern


class Names(enum.Enum):
    """The code base whose names a file has."""

    PYTORCH = "PyTorch"
    MLX = "MLX"
    CANDLE = "Candle"


_TABLES = {Names.PYTORCH: PYTORCH, Names.MLX: MLX, Names.CANDLE: CANDLE}


def inspect_names(path: object, names: Iterable[str]) -> Names:
    """Whose names these are. Raises CheckpointError when they are not those of a Moshi LM."""
    names = set(names)
    if "audio_embs.0.weight" in names:
        return Names.MLX
    if any(re.match(r"depformer\.\d+\.", name) for name in names):
        return Names.CANDLE
    if "emb.0.weight" in names:
        return Names.PYTORCH
    if any(name.startswith("quantizer.") for name in names):
        raise CheckpointError(f"{path}: this is Mimi, the codec; the LM is another file")
    if any(".lora_A." in name for name in names):
        raise CheckpointError(f"{path}: these are adapters; the LM they belong to is another file")
    raise CheckpointError(f"{path}: not a Moshi LM: neither emb.0.weight nor audio_embs.0.weight is there")


class PublishedTensors(Mapping[str, Stored]):
    """A file's tensors by their published PyTorch names.

    Weights that several steps share, and norms, are in some files once per step: copies, or it is another model.
    """

    def __init__(self, tensors: Mapping[str, Stored], names: Names, schedule: Sequence[int]) -> None:
        """schedule: the block of weights of each step of the Depth Transformer. Raises ValueError naming the key."""
        self._tensors = tensors
        self._schedule = schedule
        self._table = _TABLES[names]
        self._stored: dict[str, list[str]] = {}
        for name in sorted(tensors, key=_numbers_in_order):
            self._stored.setdefault(self._published(name), []).append(name)

    def __getitem__(self, name: str) -> Stored:
        """Raises ValueError when copies differ."""
        first, *copies = self._stored[name]
        found = self._tensors[first]
        for copy in copies:
            if not _equal(found, self._tensors[copy]):
                raise ValueError(f"{copy}: differs from {first}, of which it should be a copy")
        return found

    def stored_name(self, published: str) -> str:
        """What the file calls a tensor, or would call it if it had it."""
        if published in self._stored:
            return self._stored[published][0]
        for left, right in self._table:
            match = _pattern(right).fullmatch(published)
            fields = {} if match is None else {_SPELT.get(key, key): value for key, value in match.groupdict().items()}
            if "s(k)" in fields:
                fields["k"] = str(self._schedule.index(int(fields["s(k)"])))
            if "k-1" in fields:
                fields["k"] = str(int(fields["k-1"]) + 1)
            if match is not None:
                return left.format_map(fields | {"_": "_"})
        return published

    def _published(self, name: str) -> str:
        for left, right in self._table:
            match = _pattern(left).fullmatch(name)
            if match is None:
                continue
            fields = match.groupdict()
            if "k" in fields:
                step, steps = int(fields["k"]), len(self._schedule)
                if step >= steps:
                    raise ValueError(f"{name}: step {step} of the Depth Transformer, the configuration has {steps}")
                fields |= {"k": str(step), "s(k)": str(self._schedule[step]), "k-1": str(step - 1)}
            return right.format_map(fields)
        return name

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


def _equal(one: Stored, other: Stored) -> bool:
    """Bit for bit. Tensors without values are taken for equal."""
    if isinstance(one, QuantisedMatrix) and isinstance(other, QuantisedMatrix):
        parts = zip(one.parts, other.parts, strict=True)
        return one.same_kind(other) and all(torch.equal(a, b) for a, b in parts)
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and (one.is_meta or torch.equal(one, other))
    return False


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """Matches the names of a side of a table; what is in braces is a group."""
    parts = re.split(r"\{(.+?)\}", template)
    groups = {spelt: group for group, spelt in _SPELT.items()}
    pattern = "".join(
        f"(?P<{groups.get(part, part)}>{_FIELDS.get(part, '[0-9]{1,4}')})" if i % 2 else re.escape(part)
        for i, part in enumerate(parts)
    )
    return re.compile(pattern)


def _numbers_in_order(name: str) -> list[str | int]:
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", name))]
