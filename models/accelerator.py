"""What a thread needs before it computes on a device."""

from __future__ import annotations

import torch


def prepare_thread(device: torch.device | str) -> None:
    """Makes the device this thread's own, for kernels that go where the thread is, and sums exact to the last step.

    Call in the threads that load and run the model: a thread begins with the first device, whatever others have chosen.
    """
    device = torch.device(device)
    if device.type != "cuda":
        return
    torch.cuda.set_device(device.index or 0)
    # By default partial sums of a bfloat16 product may be rounded to bfloat16, and how many there are goes by shape.
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    # Containers of NVIDIA's turn TF32 on for all; which code is nearest to a latent is decided by less.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
