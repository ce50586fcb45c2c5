"""The demo model's config.json, in the published spelling."""

from __future__ import annotations

from typing import Any

from models.loading.published import LM_NAME, MIMI_NAME, MODEL_TYPE

MIMI_CONFIG_NAME = "mimi_config.json"
TOKENIZER_NAME = "tokenizer_spm_512.model"


def lm_config(text_card: int, card: int) -> dict[str, Any]:
    """text_card: pieces of the tokenizer; card: entries of one of Mimi's codebooks."""
    return {
        "dim": 256,
        "num_heads": 4,
        "num_layers": 4,
        "hidden_scale": 4.125,
        "context": 375,  # 30 s
        "text_card": text_card,
        "existing_text_padding_id": 3,
        "n_q": 16,
        "dep_q": 8,
        "card": card,
        "delays": [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1],
        "causal": True,
        "layer_scale": None,
        "max_period": 10000,
        "gating": "silu",
        "norm": "rms_norm_f32",
        "positional_embedding": "rope",
        "depformer_dim": 128,
        "depformer_dim_feedforward": 528,
        "depformer_num_heads": 4,
        "depformer_num_layers": 1,
        "depformer_causal": True,
        "depformer_layer_scale": None,
        "depformer_multi_linear": True,
        "depformer_context": 8,
        "depformer_max_period": 10000,
        "depformer_gating": "silu",
        "depformer_pos_emb": "none",
        "depformer_weights_per_step": True,
        "moshi_name": LM_NAME,
        "mimi_name": MIMI_NAME,
        "mimi_config_name": MIMI_CONFIG_NAME,
        "tokenizer_name": TOKENIZER_NAME,
        "model_type": MODEL_TYPE,
        "model_id": {"sig": "demo", "epoch": 1},
        "lm_gen_config": {"temp": 0.0, "temp_text": 0.0, "top_k": 250, "top_k_text": 25},
    }
