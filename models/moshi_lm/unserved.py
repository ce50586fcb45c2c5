"""Tensors that a published model has and a conversation does not need: known, and left out on purpose."""

from __future__ import annotations

import re

from moshi_cluster.models.moshi_lm.config import LmConfig

# What a condition adds where it is switched off, and heads that tell whether somebody speaks.
_ASIDE = re.compile(r"condition_provider\.conditioners\.[^.]+\.learnt_padding|extra_heads\.\d+\.weight")
# By number: sets of weights, then steps.
_BLOCKS = re.compile(
    r"depformer_in\.(\d+)\..+|depformer\.layers\.\d+\.(?:gating|self_attn\.in_projs|self_attn\.out_projs)\.(\d+)\..+"
)
_STEPS = re.compile(r"(?:linears|depformer_norms)\.(\d+)\..+")
_EMBEDDINGS = re.compile(r"depformer_emb\.(\d+)\..+")


def is_unserved(name: str, config: LmConfig) -> bool:
    """name: canonical. Steps beyond dep_q say what the user would say: PersonaPlex has them, no call asks."""
    if _ASIDE.fullmatch(name):
        return True
    served, stored = config.dep_q, config.stored_dep_q
    ranges = (
        (_BLOCKS, config.depth_blocks, config.stored_depth_blocks),
        (_STEPS, served, stored),
        (_EMBEDDINGS, served - 1, stored - 1),
    )
    return any(
        first <= int(match[match.lastindex or 1]) < end
        for pattern, first, end in ranges
        if (match := pattern.fullmatch(name))
    )
