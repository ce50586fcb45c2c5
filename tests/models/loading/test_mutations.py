"""Broken and hostile files: one error that names the file, never a crash, and never much memory."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from moshi_cluster.models.loading import Checkpoint, CheckpointError, Part, resolve
from moshi_cluster.models.loading.lm import load_lm
from tests.models.loading.layout_files import ALL, CONFIG, write_layout
from tests.models.loading.mutations import MUTATIONS

FILES = int(os.environ.get("MUTATED_FILES", "60"))
_PEAK, _NOW = "VmHWM", "VmRSS"
# Many matrices of one size, as in the published models: what one of them needs on its way is little beside the file.
DEEP = CONFIG | {"dim": 256, "num_heads": 4, "num_layers": 12, "hidden_scale": 4.125, "text_card": 512}
DEEP_LAYOUTS = ("pytorch-bf16", "pytorch-int8", "mlx-q8", "mlx-q4", "candle-q8")
DEEP_SLACK_BYTES = 12 << 20  # what malloc keeps
SLACK_BYTES = 24 << 20  # the interpreter's own comings and goings: an error with its traceback, a parsed header


def memory_bytes(kind: str) -> int:
    """Of this process, resident."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) * 1024


def begin_of_peak() -> int:
    """From here the peak counts anew: what is resident now, with nothing in reserve."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return memory_bytes(_NOW)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    folders = [tmp_path_factory.mktemp(layout) for layout in ALL]
    for layout, folder in zip(ALL, folders, strict=True):
        write_layout(layout, folder)
    return [resolve(str(folder), parts=Part.LM) for folder in folders]


def loaded(checkpoint: Checkpoint, broken: Path) -> tuple[str, int]:
    """What loading says of another file in the place of the checkpoint's, and the memory it takes on its way."""
    before_bytes, message = begin_of_peak(), ""
    try:
        load_lm(Checkpoint(**{**vars(checkpoint), "lm_weights": broken}), torch.bfloat16)
    except CheckpointError as error:
        message = str(error)
        assert message.startswith(f"{broken}: "), message
        assert len(message) < 1000, message[:1000]
    return message, memory_bytes(_PEAK) - before_bytes


@pytest.mark.timeout(600)
def test_a_broken_file_is_refused_by_name(checkpoints: list[Checkpoint], tmp_path: Path) -> None:
    for checkpoint in checkpoints:
        load_lm(checkpoint)  # what the first load of a kind brings into memory is not the file's doing
    refused = 0
    for number in range(FILES):
        chance = random.Random(number)
        checkpoint = chance.choice(checkpoints)
        assert checkpoint.lm_weights is not None
        mutation = MUTATIONS[number % len(MUTATIONS)]
        broken = tmp_path / f"broken{number}"
        broken.write_bytes(mutation(checkpoint.lm_weights.read_bytes(), chance))
        size_bytes = max(broken.stat().st_size, checkpoint.lm_weights.stat().st_size)
        message, peak_bytes = loaded(checkpoint, broken)
        refused += message != ""
        assert peak_bytes <= 2 * size_bytes + SLACK_BYTES, (number, mutation.__name__, peak_bytes, size_bytes)
        broken.unlink()
    assert refused > 0.7 * FILES  # a scribble among the values may go unseen


@pytest.mark.parametrize("layout", [layout for layout in ALL if layout != "candle-q8"])
def test_a_tensor_that_is_missing_or_of_another_shape_is_named(layout: str, tmp_path: Path) -> None:
    tensors = load_file(write_layout(layout, tmp_path))
    checkpoint, broken = resolve(str(tmp_path), parts=Part.LM), tmp_path / "broken"
    one_of_each_kind = {re.sub(r"\d+", "", name): name for name in tensors}.values()
    for name in one_of_each_kind:
        less = {other: kept for other, kept in tensors.items() if other != name}
        longer = less | {name: torch.cat((tensors[name], tensors[name]))}
        has_copies = not layout.startswith("pytorch") and re.match(r"depformer.*norm", name)  # one for each step
        width_is_free = "gating" in name or name == "out_norm.weight"  # other tensors are measured by these
        for changed, is_wrong in ((less, not has_copies), (longer, not width_is_free)):
            if not is_wrong:
                continue
            save_file(changed, broken)
            with pytest.raises(CheckpointError) as refused:
                load_lm(Checkpoint(**{**vars(checkpoint), "lm_weights": broken}), torch.bfloat16)
            weight = name.rpartition(".")[0]  # of which `name` may be the scales
            assert str(refused.value).startswith(f"{broken}: ")
            assert weight in str(refused.value), name


@pytest.mark.parametrize("layout", DEEP_LAYOUTS)
def test_no_file_takes_more_than_twice_its_size_in_memory_broken_or_whole(layout: str, tmp_path: Path) -> None:
    whole = write_layout(layout, tmp_path, DEEP)
    checkpoint = resolve(str(tmp_path), parts=Part.LM)
    load_lm(checkpoint, torch.bfloat16)
    for number, mutation in enumerate((lambda content, chance: content, *MUTATIONS)):
        broken = tmp_path / "broken"
        broken.write_bytes(mutation(whole.read_bytes(), random.Random(number)))
        _, peak_bytes = loaded(checkpoint, broken)
        size_bytes = max(broken.stat().st_size, whole.stat().st_size)
        assert peak_bytes <= 2 * size_bytes + DEEP_SLACK_BYTES, (number, peak_bytes, size_bytes)


@pytest.mark.parametrize("mutated", ["[" * 100_000, '{"dim":' * 50_000, '{"n_q": ' + "9" * 5000 + "}", " " * (1 << 21)])
def test_a_hostile_configuration_is_refused_by_name(
    mutated: str, checkpoints: list[Checkpoint], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(mutated)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_lm(resolve(str(tmp_path), parts=Part.LM))


@pytest.mark.parametrize(
    "key", ["dim", "num_layers", "n_q", "dep_q", "card", "text_card", "depformer_dim", "num_heads"]
)
@pytest.mark.parametrize("value", [10**12, -1, 3.5, float("inf"), "many", None, [1]])
def test_a_configuration_of_another_size_than_the_file_is_refused_by_name(
    key: str, value: object, checkpoints: list[Checkpoint]
) -> None:
    checkpoint = checkpoints[0]
    changed = Checkpoint(**{**vars(checkpoint), "lm_config": {**checkpoint.lm_config, key: value}})
    with pytest.raises(CheckpointError):
        load_lm(changed)
