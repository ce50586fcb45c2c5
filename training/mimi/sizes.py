"""The demo codec's configuration, in the published spelling."""

from __future__ import annotations

from typing import Any

from moshi_cluster.tools.checkpoint_sizes import mimi_config

CODEBOOKS = 8
CROP_FRAMES = 20

_LATENT_WIDTH = 128
# 1.3 s at 25 Hz. Every crop of CROP_FRAMES reaches the full window, so a long call shows the transformers nothing that
# training did not; and what was said before the last breath cannot change the codes of what is said now.
_CONTEXT = 32


def demo_config() -> dict[str, Any]:
    """A codec light enough for 16 callers on two cores beside a language model."""
    config = mimi_config(bins=256)
    config["seanet"] |= {"dimension": _LATENT_WIDTH, "n_filters": 8}
    config["quantizer"] |= {
        "dimension": 32,
        "n_q": CODEBOOKS,
        "input_dimension": _LATENT_WIDTH,
        "output_dimension": _LATENT_WIDTH,
    }
    config["transformer"] |= {
        "d_model": _LATENT_WIDTH,
        "num_heads": 4,
        "num_layers": 2,
        "context": _CONTEXT,
        "dim_feedforward": 2 * _LATENT_WIDTH,
        "input_dimension": _LATENT_WIDTH,
        "output_dimensions": [_LATENT_WIDTH],
    }
    return config
