"""Upstream's PyTorch package (PyPI `moshi`) runs a file in its layouts along given tokens, in float32 on a CPU.

Stands alone, for an interpreter that has that package: WEIGHTS CONFIG TOKENS OUTPUT. TOKENS is a safetensors file with
`inputs` [T, 1 + n_q] and `raw_text` [T]; OUTPUT gets `text_logits` [T, text_card] and `audio` [T, dep_q], greedy.
"""

from __future__ import annotations

import importlib
import json
import sys

import torch
from safetensors.torch import load_file, save_file

_loaders = importlib.import_module("moshi.models.loaders")
_NOT_OF_THE_MODEL = {"moshi_name", "mimi_name", "mimi_config_name", "tokenizer_name", "model_type", "model_id"}
_NOT_OF_THE_MODEL |= {"lm_gen_config"}


@torch.no_grad()
def main(weights: str, config: str, tokens: str, output: str) -> None:
    with open(config, encoding="utf-8") as file:
        sizes = {key: value for key, value in json.load(file).items() if key not in _NOT_OF_THE_MODEL}
    lm = _loaders.get_moshi_lm(weights, sizes, device="cpu", dtype=torch.float32)
    given = load_file(tokens)
    text_logits, audio = [], []
    with lm.streaming(1):
        for inputs, text in zip(given["inputs"], given["raw_text"], strict=True):
            hidden, logits = lm.forward_text(inputs[None, :, None])
            text_logits.append(logits[0, 0, 0].float())
            token, frame = text, []
            with lm.depformer.streaming(1):
                for codebook in range(lm.dep_q):
                    logits = lm.forward_depformer(codebook, token.view(1, 1, 1), hidden)
                    token = logits.argmax(dim=-1)
                    frame.append(token.view(()))
            audio.append(torch.stack(frame))
    save_file({"text_logits": torch.stack(text_logits), "audio": torch.stack(audio)}, output)


if __name__ == "__main__":
    main(*sys.argv[1:])
