"""The models that are measured are the ones that the tables name."""

import torch

from benchmarks.offline.model_sizes import MODEL_SIZES
from benchmarks.offline.random_on_device import on_device
from moshi_cluster.models.mimi import MimiConfig
from moshi_cluster.tools.checkpoint_sizes import SMALL
from moshi_cluster.tools.random_lm import random_lm


def test_published_mimi_has_the_published_sizes() -> None:
    config = next(size.config for size in MODEL_SIZES if size.name == "mimi-published")
    assert MimiConfig.from_dict(config) == MimiConfig()


def test_weights_made_on_a_device_have_the_names_and_shapes_of_those_made_on_the_host() -> None:
    made, expected = on_device(SMALL, torch.device("cpu")), random_lm(SMALL, seed=1)
    assert {name: tensor.shape for name, tensor in made.items()} == {name: t.shape for name, t in expected.items()}
