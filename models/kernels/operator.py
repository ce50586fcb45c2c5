"""Registration of a kernel as an operator of torch, so that the device of its inputs chooses the implementation.

It also makes a step countable: on the meta device each operator is seen as the one call it is.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

F = TypeVar("F", bound=Callable[..., object])
NAMESPACE = "moshi_cluster"
HAS_TRITON = importlib.util.find_spec("triton") is not None and torch.version.hip is None
"""CUDA builds of torch bring it, CPU builds do not. Kernels hold instructions of NVIDIA's cards."""


def operator(reference: F, shape: Callable[..., object], mutates: Sequence[str] = ()) -> F:
    """reference: `NAME_reference`, runs on every device; on CUDA, with Triton, `NAME` in the module of the same name in
    models.kernels.compiled does it.

    shape: an empty result for the same arguments. mutates: names of the arguments that are written to. No result shares
    memory with an argument.
    """
    name = reference.__name__.removesuffix("_reference")
    made = torch.library.custom_op(f"{NAMESPACE}::{name}", reference, mutates_args=mutates)
    made.register_fake(shape)
    if HAS_TRITON:
        made.register_kernel("cuda", _compiled(reference.__module__, name))
    return made  # type: ignore[return-value]


def _compiled(module: str, name: str) -> Callable[..., object]:
    """The function that launches Triton's kernel, imported when it is first called: Triton takes a second to load."""
    package, _, own = module.rpartition(".")

    def launch(*arguments: object, **named: object) -> object:
        found: Callable[..., object] = getattr(importlib.import_module(f"{package}.compiled.{own}"), name)
        return found(*arguments, **named)

    return launch
