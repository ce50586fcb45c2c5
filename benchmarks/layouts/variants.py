"""Variants that are compared: every layout of one LM, and ways to hold it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """A row of the table."""

    name: str
    layout: str  # of tools.checkpoint_layouts
    dtype: str  # of activations
    quantize: str | None = None
    kv_dtype: str | None = None  # None: the activations'


VARIANTS = (
    Variant("PyTorch bf16, float32 activations", "pytorch-bf16", "float32"),
    Variant("PyTorch bf16", "pytorch-bf16", "bfloat16"),
    Variant("PyTorch int8", "pytorch-int8", "bfloat16"),
    Variant("PyTorch int8, float32 activations", "pytorch-int8", "float32"),
    Variant("MLX bf16", "mlx-bf16", "bfloat16"),
    Variant("MLX q8", "mlx-q8", "bfloat16"),
    Variant("MLX q4", "mlx-q4", "bfloat16"),
    Variant("Candle bf16", "candle-bf16", "bfloat16"),
    Variant("Candle q8 GGUF", "candle-q8", "bfloat16"),
    Variant("PyTorch bf16, quantize=int8", "pytorch-bf16", "bfloat16", "int8"),
    Variant("PyTorch bf16, quantize=int4", "pytorch-bf16", "bfloat16", "int4"),
    Variant("PyTorch bf16, kv_dtype=int8", "pytorch-bf16", "bfloat16", None, "int8"),
    Variant("PyTorch int8, kv_dtype=int8", "pytorch-int8", "bfloat16", None, "int8"),
)
