"""A thread is prepared for its device: its kernels go there, and products are exact."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from moshi_cluster.models import accelerator
from moshi_cluster.models.accelerator import prepare_thread

FLAGS = ("allow_bf16_reduced_precision_reduction", "allow_tf32")


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Devices that threads chose."""
    devices: list[int] = []
    monkeypatch.setattr(accelerator.torch.cuda, "set_device", devices.append)
    matmul = torch.backends.cuda.matmul
    before = [getattr(matmul, flag) for flag in FLAGS]
    yield devices
    for flag, value in zip(FLAGS, before, strict=True):
        setattr(matmul, flag, value)


@pytest.mark.parametrize(("device", "index"), [("cuda", 0), ("cuda:1", 1), (torch.device("cuda", 2), 2)])
def test_the_thread_gets_its_device_and_exact_products(
    chosen: list[int], device: torch.device | str, index: int
) -> None:
    for flag in FLAGS:
        setattr(torch.backends.cuda.matmul, flag, True)
    prepare_thread(device)
    assert chosen == [index]
    assert not any(getattr(torch.backends.cuda.matmul, flag) for flag in FLAGS)
    assert not torch.backends.cudnn.allow_tf32


def test_on_a_cpu_nothing_is_chosen(chosen: list[int]) -> None:
    prepare_thread("cpu")
    assert chosen == []
