"""Convolutions as products of windows give what torch's own give, in pieces and at once."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from moshi_cluster.models.mimi.convolution import CausalConv, CausalTransposedConv, steps_per_row


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("after_elu", [False, True])
@pytest.mark.parametrize(
    ("width", "out", "kernel", "stride", "steps"),
    [
        (1, 4, 7, 1, 96),
        (4, 2, 3, 1, 96),
        (4, 8, 8, 4, 48),
        (4, 1, 3, 1, 96),
        (6, 3, 3, 1, 60),  # a row makes five steps
        (2, 1, 3, 1, 32),  # and here sixteen
        (16, 32, 12, 6, 16),
        (64, 64, 4, 2, 1),
    ],
)
@torch.inference_mode()
def test_two_frames_equal_a_padded_convolution(
    width: int, out: int, kernel: int, stride: int, steps: int, after_elu: bool
) -> None:
    weight, bias, x = normal(out, width, kernel), normal(out), normal(3, 2 * steps * stride, width)
    conv = CausalConv(weight, bias, steps, stride, after_elu)
    history = torch.zeros(3, *conv.history_shape)
    got = torch.cat([conv(frame, history) for frame in x.split(steps * stride, dim=1)], dim=1)
    seen = F.pad((F.elu(x) if after_elu else x).mT, (kernel - stride, 0))
    torch.testing.assert_close(got.mT, F.conv1d(seen, weight, bias, stride), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(history.mT, seen[..., seen.shape[2] - history.shape[1] :])


@pytest.mark.parametrize(("width", "out", "stride", "steps"), [(8, 4, 4, 24), (4, 1, 5, 96), (32, 16, 8, 2)])
@torch.inference_mode()
def test_two_frames_equal_a_trimmed_transposed_convolution(width: int, out: int, stride: int, steps: int) -> None:
    weight, bias, x = normal(width, out, 2 * stride), normal(out), normal(3, 2 * steps, width)
    conv = CausalTransposedConv(weight, bias, steps, stride)
    history = torch.zeros(3, *conv.history_shape)
    got = torch.cat([conv(frame, history) for frame in x.split(steps, dim=1)], dim=1)
    expected = F.conv_transpose1d(F.elu(x).mT, weight, bias, stride)[..., : 2 * steps * stride]
    torch.testing.assert_close(got.mT, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("out", "steps", "expected"), [(1, 1920, 16), (4, 1920, 4), (5, 1920, 3), (8, 2, 2), (3, 7, 1), (64, 1920, 1)]
)
def test_rows_make_whole_vectors_where_a_frame_divides(out: int, steps: int, expected: int) -> None:
    assert steps_per_row(out, steps) == expected
