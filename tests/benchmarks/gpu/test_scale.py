"""What the parts of `make gpu` share: memory that comes back, and steps as the workers have them."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import scale as scale_module
from benchmarks.gpu.lm_step import RunningSessions, static_step
from benchmarks.gpu.report import Report
from benchmarks.gpu.scale import Scale
from moshi_cluster.models.moshi_lm.static import buckets_for


@pytest.fixture
def scale(tmp_path: Path) -> Scale:
    return Scale("part", Report(tmp_path / "results.jsonl"), dry=True)


def test_rings_of_a_finished_step_are_gone_when_slots_are_counted(scale: Scale) -> None:
    step = static_step(scale, torch.int8)
    ring = weakref.ref(step.rings[0].keys)
    del step
    scale.slots_that_fit(torch.int8, 2)
    assert ring() is None


def test_all_slots_that_fit_are_stepped_at_once_in_the_buckets_of_a_worker(
    scale: Scale, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "slots_that_fit", lambda kv_dtype, most, beside_codec: 18)
    step = static_step(scale, torch.int8)
    assert step.buckets == list(buckets_for(18))
    RunningSessions(step, range(18), [1] * 18).frame()


def test_what_does_not_fit_is_told_with_the_arithmetic(scale: Scale, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale_module, "free_bytes", lambda device: 5 * 10**9)
    scale.lm  # noqa: B018  # made before memory is looked at
    scale.dry = False
    assert scale.slots_that_fit(torch.int8, 10**6) < 10**6
    without_codec = scale.report.entries()[-1]
    assert scale.slots_that_fit(torch.int8, 10**6, beside_codec=True) < 10**6
    assert "left out: 1000000 sessions" in str(without_codec) and "codec" not in str(without_codec)
    assert "for a codec beside it" in str(scale.report.entries()[-1])
