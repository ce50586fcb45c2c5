"""Configurations of random checkpoints, in the published spelling, by the sizes that `tools.make_checkpoint` knows."""

from __future__ import annotations

from typing import Any

from moshi_cluster.models.loading.published import LM_NAME, MIMI_NAME, MODEL_TYPE, MOSHI_7B

MIMI_CONFIG_NAME = "mimi_config.json"
TOKENIZER_NAME = "tokenizer_spm_512.model"

_AS_MOSHI_7B = (
    "existing_text_padding_id",
    "n_q",
    "dep_q",
    "causal",
    "layer_scale",
    "max_period",
    "gating",
    "norm",
    "positional_embedding",
    "depformer_causal",
    "depformer_layer_scale",
    "depformer_multi_linear",
    "depformer_context",
    "depformer_max_period",
    "depformer_gating",
    "depformer_pos_emb",
    "depformer_weights_per_step",
    "delays",
)
SHARED: dict[str, Any] = {key: MOSHI_7B[key] for key in _AS_MOSHI_7B} | {
    "moshi_name": LM_NAME,
    "mimi_name": MIMI_NAME,
    "mimi_config_name": MIMI_CONFIG_NAME,
    "tokenizer_name": TOKENIZER_NAME,
    "model_type": MODEL_TYPE,
}

_RANDOM = SHARED | {
    # Another recipe, another number: `--if-missing` then makes the checkpoint anew.
    "model_id": {"sig": "random", "epoch": 1},
    "lm_gen_config": {"temp": 0.8, "temp_text": 0.7, "top_k": 250, "top_k_text": 25},
}

# Small enough that 16 callers and three services share two CPU cores in real time.
SMALL = _RANDOM | {
    "dim": 192,
    "num_heads": 4,
    "num_layers": 2,
    "hidden_scale": 4.125,
    "context": 500,  # 40 s
    "text_card": 512,
    "card": 256,
    "depformer_dim": 96,
    "depformer_dim_feedforward": 396,
    "depformer_num_heads": 4,
    "depformer_num_layers": 1,
}

# For benchmarks: the published vocabularies, a tenth of the width.
MIDDLE = _RANDOM | {
    "dim": 512,
    "num_heads": 8,
    "num_layers": 8,
    "hidden_scale": 4.125,
    "context": 250,
    "text_card": 32000,
    "card": 2048,
    "depformer_dim": 256,
    "depformer_dim_feedforward": 1056,
    "depformer_num_heads": 8,
    "depformer_num_layers": 4,
}

LM_CONFIGS = {"small": SMALL, "middle": MIDDLE}


def mimi_config(bins: int) -> dict[str, Any]:
    """A codec of an eighth to a sixteenth of the published widths, with `bins` entries per codebook."""
    width = 64
    return {
        "sample_rate": 24000,
        "channels": 1,
        "frame_rate": 12.5,
        "seanet": {
            "channels": 1,
            "dimension": width,
            "causal": True,
            "n_filters": 4,
            "n_residual_layers": 1,
            "activation": "ELU",
            "compress": 2,
            "dilation_base": 2,
            "disable_norm_outer_blocks": 0,
            "kernel_size": 7,
            "residual_kernel_size": 3,
            "last_kernel_size": 3,
            "norm": "none",
            "pad_mode": "constant",
            "ratios": [8, 6, 5, 4],
            "true_skip": True,
        },
        "quantizer": {
            "dimension": 16,
            "n_q": 32,
            "bins": bins,
            "input_dimension": width,
            "output_dimension": width,
        },
        "transformer": {
            "d_model": width,
            "num_heads": 4,
            "num_layers": 1,
            "causal": True,
            "layer_scale": 0.01,
            "context": 250,
            "conv_layout": True,
            "max_period": 10000,
            "gating": "none",
            "norm": "layer_norm",
            "positional_embedding": "rope",
            "dim_feedforward": 128,
            "input_dimension": width,
            "output_dimensions": [width],
        },
    }
