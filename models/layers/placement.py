"""Whether something is computed on a CPU, where some layers go another way than on a device."""

from __future__ import annotations

import torch

_CPU = "cpu"  # tests name another kind here, and run the ways of devices on a CPU


def on_cpu(device: torch.device) -> bool:
    """device: where the tensors lie."""
    return device.type == _CPU
