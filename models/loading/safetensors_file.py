"""safetensors reader."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from moshi_cluster.models.loading.safetensors_header import TensorEntry, read_safetensors_header
from moshi_cluster.models.loading.tensor_file import TensorFile

_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


class SafetensorsFile(TensorFile[Tensor]):
    """The tensors of one safetensors file by name, in their stored shapes and types."""

    def _read_header(self) -> Mapping[str, TensorEntry]:
        return read_safetensors_header(self.path)

    def _decoded(self, entry: TensorEntry, values: Tensor) -> Tensor:
        return values.view(_TYPES[entry.stored_type]).view(entry.shape)
