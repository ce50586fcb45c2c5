"""Upstream's MLX package (PyPI `moshi_mlx`) runs a file in MLX's layouts along given tokens; see upstream_torch.py.

A fifth argument gives the bits of quantised weights, 0 for dense ones.
"""

from __future__ import annotations

import importlib
import json
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

mx = importlib.import_module("mlx.core")
nn = importlib.import_module("mlx.nn")
_models = importlib.import_module("moshi_mlx.models")
_sampling = importlib.import_module("moshi_mlx.utils.sampling")
_GROUPS = {8: 64, 4: 32}


def main(weights: str, config: str, tokens: str, output: str, bits: str) -> None:
    mx.set_default_device(mx.cpu)
    with open(config, encoding="utf-8") as file:
        sizes = json.load(file)
    described = _models.LmConfig.from_config_dict(sizes)
    # Taken for 4 by moshi_mlx, which only knows models where that happens to be the same.
    described.transformer.dim_feedforward = int(sizes["hidden_scale"] * sizes["dim"])
    lm = _models.Lm(described)
    lm.set_dtype(mx.bfloat16)
    if int(bits):
        nn.quantize(lm, bits=int(bits), group_size=_GROUPS[int(bits)])
    lm.load_weights(weights, strict=True)
    lm.set_dtype(mx.float32)
    greedy = _sampling.Sampler(temp=0)
    given = load_file(tokens)
    text_logits, audio = [], []
    for inputs, text in zip(given["inputs"], given["raw_text"], strict=True):
        ids = mx.array(inputs)
        x = lm.text_emb(ids[None, :1])
        for codebook, embedding in enumerate(lm.audio_embs):
            x = x + embedding(ids[None, 1 + codebook : 2 + codebook])
        hidden = lm.out_norm(lm.transformer(x, cache=lm.transformer_cache))
        text_logits.append(np.array(lm.text_linear(hidden)[0, 0], copy=True))
        frame = lm.depformer.sample(hidden, greedy, mx.array([[int(text)]]), lm.depformer_cache)
        audio.append(np.array(frame, copy=True).reshape(-1).astype(np.int64))
    save_file({"text_logits": np.stack(text_logits), "audio": np.stack(audio)}, output)


if __name__ == "__main__":
    main(*sys.argv[1:])
