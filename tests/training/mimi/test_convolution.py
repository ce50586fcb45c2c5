"""Products over blocks of steps are convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from training.mimi.convolution import TrainableCausalConv, TrainableCausalTransposedConv

SIZES = st.integers(1, 5)


@given(inputs=SIZES, outputs=SIZES, kernel=st.integers(1, 12), stride=SIZES, block=SIZES, seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_block_of_steps_is_the_same_convolution(
    inputs: int, outputs: int, kernel: int, stride: int, block: int, seed: int
) -> None:
    torch.manual_seed(seed)
    kernel = max(kernel, stride)
    conv = TrainableCausalConv(inputs, outputs, kernel, stride, block)
    x = torch.randn(2, 3 * stride * block, inputs)
    weights = conv.conv.conv
    expected = F.conv1d(F.pad(x.mT, (kernel - stride, 0)), weights.weight, weights.bias, stride=stride).mT
    torch.testing.assert_close(conv(x), expected, atol=1e-5, rtol=1e-5)


@given(inputs=SIZES, outputs=SIZES, stride=SIZES, seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_the_transposed_convolution_drops_what_it_would_say_after_the_end(
    inputs: int, outputs: int, stride: int, seed: int
) -> None:
    torch.manual_seed(seed)
    conv = TrainableCausalTransposedConv(inputs, outputs, stride)
    x = torch.randn(2, 4, inputs)
    weights = conv.convtr.convtr
    expected = F.conv_transpose1d(x.mT, weights.weight, weights.bias, stride=stride)[:, :, : 4 * stride].mT
    torch.testing.assert_close(conv(x), expected, atol=1e-5, rtol=1e-5)
