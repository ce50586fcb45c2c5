"""Comparison of our models with upstream's, batch by batch."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from benchmarks.offline.measure import Contender, interleaved
from benchmarks.offline.model_sizes import ModelSize
from benchmarks.offline.models_under_test import ModelUnderTest, model_under_test
from benchmarks.offline.options import Options
from benchmarks.offline.results import Row
from benchmarks.offline.upstream import Upstream


def compare(size: ModelSize, options: Options, upstream: Upstream | None) -> Iterator[Row]:
    """Rows of a model in the order of the batches, as they are found; ends early where the device's memory does."""
    tensors: Mapping[str, Tensor] = size.tensors(options.device)
    model = model_under_test(size, tensors, options.device)
    if upstream:
        upstream.load(size.kind, tensors, size.config)
    for batch in options.batches:
        try:
            for row in _rows(size, model, batch, options, upstream):
                _report(row)
                yield row
        except torch.OutOfMemoryError:
            print(f"{size.name}: {batch} sessions do not fit the device", file=sys.stderr)
            return


def _rows(
    size: ModelSize, model: ModelUnderTest, batch: int, options: Options, upstream: Upstream | None
) -> Iterator[Row]:
    """One row for every age of the sessions; upstream's time does not depend on it and is taken once."""
    contenders: list[Contender] = [model.sessions(batch, age) for age in model.ages()]
    if upstream:
        contenders.append(upstream.sessions(batch))
    timings = interleaved(contenders, options.rounds, options.steps)
    for contender in contenders:
        contender.close()
    theirs = timings.pop() if upstream else None
    for age, ours in zip(model.ages(), timings, strict=True):
        held = model.held(age, options.rounds * (options.steps + 1))
        yield Row(size, batch, held, ours, theirs, model.work(batch, held))


def _report(row: Row) -> None:
    """Progress: figures are not lost when the run is interrupted."""
    theirs = f", upstream {row.upstream.median_ms:.1f} ms" if row.upstream else ""
    print(f"{row.size.name}: {row.batch} x {row.held} held: {row.ours.median_ms:.1f} ms{theirs}", file=sys.stderr)
