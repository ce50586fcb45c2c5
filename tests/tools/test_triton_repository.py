"""The model repository for Triton: what is in it, and that it stands alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from moshi_cluster.cluster.default_checkpoint import DEFAULT_CHECKPOINT
from moshi_cluster.models.loading import Part, resolve
from moshi_cluster.services.codec.triton.contract import MimiParameters, check_tensors
from moshi_cluster.tools import triton_repository
from moshi_cluster.tools.triton_config import RepositoryOptions, config_pbtxt

ENCODE = MimiParameters("encode", "0123456789abcdef", 1920, 8, 2048, 32)


def parsed(text: str) -> Any:
    """config.pbtxt as Triton reads it."""
    pytest.importorskip("tritonclient", reason="no tritonclient: pip install '.[triton]'")
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse(text, model_config_pb2.ModelConfig())


@pytest.mark.parametrize("program", ["encode", "decode"])
def test_a_configuration_says_what_the_codec_expects(program: str) -> None:
    parameters = MimiParameters(program, "0123456789abcdef", 1920, 8, 2048, 32)
    config = parsed(config_pbtxt(parameters, RepositoryOptions(name="voice")))
    # A place for every sequence, those that are forgotten included.
    assert (config.name, config.backend, config.max_batch_size) == (f"voice_{program}", "python", 64)
    strings = {key: value.string_value for key, value in config.parameters.items()}
    assert MimiParameters.from_strings(strings) == parameters
    inputs, outputs = ({each.name: tuple(each.dims) for each in side} for side in (config.input, config.output))
    check_tensors(parameters, inputs, outputs)


def test_options_reach_the_configuration() -> None:
    options = RepositoryOptions(
        slots=8,
        max_batch=4,
        strategy="oldest",
        device="gpu",
        gpus=(1,),
        instances=2,
        queue_delay_ms=1.5,
        idle_timeout_s=90,
    )
    config = parsed(config_pbtxt(ENCODE, options))
    batching = config.sequence_batching
    assert batching.max_sequence_idle_microseconds == 90_000_000
    assert (batching.oldest.max_candidate_sequences, batching.oldest.max_queue_delay_microseconds) == (16, 1500)
    assert [each.name for each in batching.control_input] == ["START", "END", "READY", "CORRID"]
    (group,) = config.instance_group
    assert (group.kind, group.count, list(group.gpus)) == (group.KIND_GPU, 2, [1])
    assert config.max_batch_size == 4
    direct = parsed(config_pbtxt(ENCODE, RepositoryOptions(strategy="direct"))).sequence_batching
    assert direct.HasField("direct") and not direct.HasField("oldest")


def test_a_model_needs_nothing_of_this_package_but_what_lies_beside_it(tmp_path: Path) -> None:
    assert triton_repository.main(["--checkpoint", str(DEFAULT_CHECKPOINT), "--output", str(tmp_path)]) == 0
    version = tmp_path / "mimi_decode" / "1"
    code = (
        "import sys, types; sys.modules['triton_python_backend_utils'] = types.ModuleType('backend');"
        f"sys.path.append({str(Path(torch.__file__).parents[1])!r}); import runpy;"
        f"made = runpy.run_path({str(version / 'model.py')!r});"
        "import moshi_cluster; print(made['TritonPythonModel'].__module__, *moshi_cluster.__path__)"
    )
    result = subprocess.run([sys.executable, "-S", "-I", "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [
        "moshi_cluster.services.codec.triton.python_model",
        str(version / "moshi_cluster"),
    ]


def test_the_weights_keep_their_fingerprint(tmp_path: Path) -> None:
    assert triton_repository.main(["--checkpoint", str(DEFAULT_CHECKPOINT), "--output", str(tmp_path)]) == 0
    copied = resolve(str(tmp_path / "mimi_encode" / "1"), parts=Part.MIMI)
    original = resolve(str(DEFAULT_CHECKPOINT), parts=Part.MIMI)
    assert (copied.fingerprint, copied.codebooks) == (original.fingerprint, original.codebooks)
    assert f'"{original.fingerprint}"' in (tmp_path / "mimi_encode" / "config.pbtxt").read_text()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--slots", "0"), ("--max-batch", "-1"), ("--idle-timeout-s", "0"), ("--queue-delay-ms", "-1"), ("--name", "a/b")],
)
def test_an_impossible_option_is_named(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        triton_repository.main(["--checkpoint", str(DEFAULT_CHECKPOINT), "--output", str(tmp_path), option, value])
    assert option in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert triton_repository.main(["--checkpoint", str(tmp_path), "--output", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "out").exists()
