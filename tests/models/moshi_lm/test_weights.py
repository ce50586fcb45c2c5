"""Every published spelling loads to the same model; what does not fit is named."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

import pytest
import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm import LmConfig, MoshiLm
from tests.models.moshi_lm.conversation import GREEDY, alone
from tests.models.moshi_lm.random_model import KINDS, random_lm, random_tensors

Tensors = dict[str, Tensor]


def exported(tensors: Tensors, blocks: int) -> Tensors:
    """`in_proj.weight` for `in_proj_weight`."""
    return {name.replace("in_proj_weight", "in_proj.weight"): tensor for name, tensor in tensors.items()}


def in_memory(tensors: Tensors, blocks: int) -> Tensors:
    """`in_projs.{k}.weight`, `out_projs.{k}.weight`."""
    result: Tensors = {}
    for name, tensor in tensors.items():
        split = re.sub(r"(in|out)_proj[._]weight", r"\1_projs.{}.weight", name)
        if split == name:
            result[name] = tensor
            continue
        parts = tensor.chunk(blocks if name.startswith("depformer") else 1)
        result |= {split.format(k): part for k, part in enumerate(parts)}
    return result


@pytest.mark.parametrize("kind", ["moshi", "hibiki"])
@pytest.mark.parametrize("spelling", [exported, in_memory])
def test_every_spelling_gives_the_same_model(kind: str, spelling: Callable[[Tensors, int], Tensors]) -> None:
    config = LmConfig.from_dict(KINDS[kind])
    lm = MoshiLm.from_tensors(spelling(random_tensors(KINDS[kind]), config.depth_blocks), config, torch.float32)
    assert torch.equal(alone(lm, GREEDY, 1, 6), alone(random_lm(kind), GREEDY, 1, 6))


class Counted(Mapping[str, Tensor]):
    """Notes what is read."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        self.read: list[str] = []

    def __getitem__(self, name: str) -> Tensor:
        self.read.append(name)
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def test_every_tensor_is_read_from_the_file_once() -> None:
    tensors = Counted(random_tensors(KINDS["moshi"]))
    MoshiLm.from_tensors(tensors, LmConfig.from_dict(KINDS["moshi"]), torch.float32)
    assert sorted(tensors.read) == sorted(tensors)


def test_every_tensor_is_needed_and_a_missing_one_is_named() -> None:
    tensors = random_tensors(KINDS["hibiki"])
    config = LmConfig.from_dict(KINDS["hibiki"])
    for name in tensors:
        less = {other: tensor for other, tensor in tensors.items() if other != name}
        stem = re.escape(re.sub(r"_?(proj)?[._]weight$", "", name))
        with pytest.raises(ValueError, match=rf"^{stem}.*: missing from the checkpoint"):
            MoshiLm.from_tensors(less, config, torch.float32)


def test_a_tensor_of_another_shape_is_named_with_both_shapes() -> None:
    tensors = random_tensors(KINDS["moshi"])
    for name, tensor in tensors.items():
        wrong = tensors | {name: torch.cat([tensor, tensor], dim=-1)}
        with pytest.raises(ValueError, match=rf"^{re.escape(name)}: expected the shape \["):
            MoshiLm.from_tensors(wrong, LmConfig.from_dict(KINDS["moshi"]), torch.float32)
