"""Inspection of an LM's file by its header alone: layout, types, parameters, memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moshi_cluster.models.loading.containers import open_tensors
from moshi_cluster.models.loading.gguf import GgufFile
from moshi_cluster.models.loading.names import Names, inspect_names
from moshi_cluster.models.loading.published import INT4_GROUP
from moshi_cluster.models.loading.quantised_layouts import StoredTensors, TensorLayout

_BYTES = {"float32": 4, "bfloat16": 2}
_SCALE_BYTES = 4  # float32, or a scale and a zero in bfloat16


@dataclass(frozen=True)
class LmFile:
    """The file of an LM."""

    path: Path
    container: str  # "safetensors" or "GGUF"
    names: Names
    layouts: Mapping[str, TensorLayout]  # by the file's own names
    stored_types: Mapping[str, int]  # as the file spells them -> tensors

    @property
    def kinds(self) -> Counter[str]:
        """How its values are held, "8 bits per row" for example -> parameters; floats under "dense"."""
        kinds: Counter[str] = Counter()
        for layout in self.layouts.values():
            kinds[layout.kind or "dense"] += layout.parameters
        return kinds

    @property
    def quantised(self) -> bool:
        """Whether its linear layers are."""
        return any(layout.bits for layout in self.layouts.values())

    def memory_bytes(self, dtype: str, quantize: str | None = None) -> int:
        """What the weights take when they run, about. dtype: of activations; quantize: what dense ones become."""
        return sum(_memory_bytes(layout, dtype, quantize) for layout in self.layouts.values())


def inspect_lm(path: Path) -> LmFile:
    """Raises CheckpointError for what is not an LM of a known layout."""
    file = open_tensors(path)
    names = inspect_names(path, file.entries)
    stored = StoredTensors(file)
    return LmFile(
        path=path,
        container="GGUF" if isinstance(file, GgufFile) else "safetensors",
        names=names,
        layouts={name: stored.layout(name) for name in stored},
        stored_types=Counter(entry.stored_type for entry in file.entries.values()),
    )


def _memory_bytes(layout: TensorLayout, dtype: str, quantize: str | None) -> int:
    """As models/layers/quantised holds it; embeddings as in the file."""
    if not layout.bits:
        if quantize is None or len(layout.shape) != 2:
            return layout.parameters * _BYTES[dtype]
        four = quantize == "int4" and layout.shape[1] % INT4_GROUP == 0
        layout = TensorLayout(layout.shape, 0, 4, INT4_GROUP) if four else TensorLayout(layout.shape, 0, 8)
    scales = 2 if layout.bits == 8 and layout.group else 1  # of a group: one for the high, one for the low 4 bits
    packed_bits = layout.bits if dtype == "bfloat16" else 8
    groups = layout.parameters // (layout.group or layout.shape[-1] or 1)
    return layout.parameters * packed_bits // 8 + groups * scales * _SCALE_BYTES
