"""CUDA's graphs on a CPU: what ran while one was recorded runs again with the same tensors, and knows nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from moshi_cluster.models import device_step

# What cannot be recorded: the host would have to know what the device computed.
_READ_BACK = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select", "aten::is_nonzero")
_READING = ("item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__")
Call = tuple[Any, Sequence[Any], Mapping[str, Any], Any]


class Recording:
    """Stands in for torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.replays = 0
        self.priority: int | None = None  # of the stream that recorded it

    def pool(self) -> str:
        return "pool"

    def replay(self) -> None:
        """Every operator again; what it made goes where it was when it was recorded."""
        self.replays += 1
        for func, args, kwargs, made in self.calls:
            again = func(*args, **kwargs)
            for there, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
                if isinstance(there, Tensor) and there.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                    there.copy_(new)


class _Recorder(TorchDispatchMode):
    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self._recording = recording

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        assert func._schema.name not in _READ_BACK, f"{func._schema.name} cannot be recorded"
        made = func(*args, **(kwargs or {}))
        self._recording.calls.append((func, args, kwargs or {}, made))
        return made


class _NoReading(TorchFunctionMode):
    """For what operators on a CPU do without a call that a dispatch mode sees."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        assert name not in _READING, f"{name} cannot be recorded"
        return func(*args, **(kwargs or {}))


class Event:
    """Stands in for torch.cuda.Event: a step that is waited for was recorded before."""

    def __init__(self, blocking: bool) -> None:
        assert blocking, "a thread that spins holds a core"
        self._recorded = False

    def record(self) -> None:
        self._recorded = True

    def synchronize(self) -> None:
        assert self._recorded
        self._recorded = False


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[Recording]:
    """All that are made; steps on a CPU record as they would on CUDA."""
    made: list[Recording] = []

    def graph() -> Recording:
        made.append(Recording())
        return made[-1]

    @contextlib.contextmanager
    def record(recording: Recording, pool: str | None, stream: int) -> Iterator[None]:
        assert pool == (None if recording is made[0] else "pool"), "one pool for all, the first one's"
        recording.priority = stream
        with _NoReading(), _Recorder(recording):
            yield

    monkeypatch.setattr(device_step, "_records", lambda device: True)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", graph)
    monkeypatch.setattr(torch.cuda, "graph", record)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device, priority: priority)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
    return made
