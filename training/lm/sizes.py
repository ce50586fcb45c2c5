"""The demo model's config.json, in the published spelling."""

from __future__ import annotations

from typing import Any

from moshi_cluster.tools.checkpoint_sizes import SHARED


def lm_config(text_card: int, card: int) -> dict[str, Any]:
    """text_card: pieces of the tokenizer; card: entries of one of Mimi's codebooks."""
    return SHARED | {
        "dim": 256,
        "num_heads": 4,
        "num_layers": 4,
        "hidden_scale": 4.125,
        "context": 375,  # 30 s
        "text_card": text_card,
        "card": card,
        "depformer_dim": 128,
        "depformer_dim_feedforward": 528,
        "depformer_num_heads": 4,
        "depformer_num_layers": 1,
        "model_id": {"sig": "demo", "epoch": 1},
        "lm_gen_config": {"temp": 0.0, "temp_text": 0.0, "top_k": 250, "top_k_text": 25},
    }
