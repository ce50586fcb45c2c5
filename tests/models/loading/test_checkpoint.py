"""Which files a checkpoint consists of, wherever they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import errors as hub_errors

from moshi_cluster.models.loading import published
from moshi_cluster.models.loading.checkpoint import FileNames, Part, codec_fingerprint, resolve
from moshi_cluster.models.loading.errors import CheckpointError
from tests.models.loading.conftest import WriteFolder
from tests.models.loading.fake_hub import FakeHub

GOLDEN = Path(__file__).parents[2] / "golden"
TINY = {"n_q": 16, "dep_q": 8, "dim": 4}


def test_a_folder_gives_the_published_file_names(write_folder: WriteFolder) -> None:
    folder = write_folder(config=TINY)
    checkpoint = resolve(str(folder))
    assert checkpoint.lm_weights == folder / "model.safetensors"
    assert checkpoint.mimi_weights == folder / "tokenizer-e351c8d8-checkpoint125.safetensors"
    assert checkpoint.tokenizer == folder / "tokenizer_spm_32k_3.model"
    assert checkpoint.lm_config == TINY
    assert checkpoint.mimi_config is None
    assert checkpoint.model_type == "moshi"


def test_names_in_the_configuration_are_followed_and_taken_out_of_the_lm_s_own(write_folder: WriteFolder) -> None:
    lm = TINY | {"lm_gen_config": {"temp": 0.5}}
    config = lm | {
        "moshi_name": "lm.safetensors",
        "mimi_name": "mimi.safetensors",
        "mimi_config_name": "mimi.json",
        "tokenizer_name": "text.model",
        "model_type": "stt",
        "stt_config": {"audio_delay_seconds": 0.5},
        "tts_config": {},
        "model_id": {"sig": "x"},
        "lora_name": None,
    }
    folder = write_folder(config=config)
    (folder / published.LM_NAME).rename(folder / "lm.safetensors")
    (folder / published.MIMI_NAME).rename(folder / "mimi.safetensors")
    (folder / published.TOKENIZER_NAME).rename(folder / "text.model")
    (folder / "mimi.json").write_text('{"channels": 1}')
    checkpoint = resolve(str(folder))
    assert checkpoint.lm_config == lm
    assert checkpoint.mimi_config == {"channels": 1}
    assert checkpoint.model_type == "stt"
    assert checkpoint.tokenizer == folder / "text.model"


def test_the_folder_as_a_file_url_is_the_same_folder(write_folder: WriteFolder) -> None:
    folder = write_folder(config=TINY)
    assert resolve(f"file://{folder}") == resolve(str(folder))


def test_a_repository_older_than_config_json_is_moshi_7b_with_a_warning(
    write_folder: WriteFolder, hub: FakeHub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.repositories["kyutai/old"] = write_folder()
    checkpoint = resolve("kyutai/old")
    assert checkpoint.lm_config["dim"] == 4096
    assert checkpoint.codebooks == 8
    assert "kyutai/old: no config.json, assuming Moshi 7B" in caplog.text


def test_a_hub_out_of_reach_is_not_taken_for_a_missing_config_json(hub: FakeHub) -> None:
    hub.failure = hub_errors.LocalEntryNotFoundError("offline")
    with pytest.raises(CheckpointError, match=r"kyutai/x: config\.json is not cached and the hub is out of reach"):
        resolve("kyutai/x")


@pytest.mark.parametrize("name", ["kyutai/x@main2", "hf://kyutai/x@main2"])
def test_a_revision_reaches_the_hub(name: str, write_folder: WriteFolder, hub: FakeHub) -> None:
    hub.repositories["kyutai/x"] = write_folder(config=TINY)
    resolve(name)
    assert {(repo_id, revision) for repo_id, _file, revision in hub.asked} == {("kyutai/x", "main2")}


def test_a_codec_worker_downloads_nothing_of_the_lm_and_the_other_way_round(
    write_folder: WriteFolder, hub: FakeHub
) -> None:
    hub.repositories["kyutai/x"] = write_folder(config=TINY)
    codec = resolve("kyutai/x", parts=Part.MIMI)
    assert hub.files_asked() == ["config.json", published.MIMI_NAME]
    assert (codec.lm_weights, codec.tokenizer) == (None, None)
    hub.asked.clear()
    lm = resolve("kyutai/x", parts=Part.LM)
    assert sorted(hub.files_asked()) == ["config.json", published.LM_NAME, published.TOKENIZER_NAME]
    assert lm.mimi_weights is None


def test_a_file_of_another_repository_may_be_named(write_folder: WriteFolder, hub: FakeHub) -> None:
    hub.repositories["kyutai/q8"] = write_folder("q8", TINY | {"mimi_name": f"hf://kyutai/bf16/{published.MIMI_NAME}"})
    hub.repositories["kyutai/bf16"] = write_folder("bf16")
    assert resolve("kyutai/q8").mimi_weights == hub.repositories["kyutai/bf16"] / published.MIMI_NAME


def test_single_files_take_the_place_of_the_source_s(write_folder: WriteFolder) -> None:
    folder, other = write_folder("a", TINY), write_folder("b")
    (folder / "fine_tuned.safetensors").write_bytes((folder / published.LM_NAME).read_bytes())
    files = FileNames(lm="fine_tuned.safetensors", mimi=str(other / published.MIMI_NAME))
    checkpoint = resolve(str(folder), files)
    assert checkpoint.lm_weights == folder / "fine_tuned.safetensors"
    assert checkpoint.mimi_weights == other / published.MIMI_NAME


def test_single_files_need_no_source(write_folder: WriteFolder) -> None:
    folder = write_folder(config=TINY)
    files = FileNames(
        config=str(folder / "config.json"),
        lm=str(folder / published.LM_NAME),
        tokenizer=f"file://{folder / published.TOKENIZER_NAME}",
    )
    assert resolve(None, files, Part.LM).lm_config == TINY
    with pytest.raises(CheckpointError, match="mimi: no file given"):
        resolve(None, files)


def test_the_fingerprint_names_what_was_loaded(write_folder: WriteFolder) -> None:
    folder, twin = write_folder("a", TINY), write_folder("b", TINY)
    first = resolve(str(folder))
    assert len(first.fingerprint) == 16 and int(first.fingerprint, 16) >= 0
    assert resolve(str(twin)).fingerprint == first.fingerprint
    assert resolve(str(write_folder("c", TINY | {"dim": 8}))).fingerprint != first.fingerprint


def test_two_voices_of_equal_shapes_have_different_fingerprints(write_folder: WriteFolder) -> None:
    folder, twin = write_folder("a", TINY), write_folder("b", TINY)
    weights = bytearray((twin / published.LM_NAME).read_bytes())
    weights[-1] ^= 1
    (twin / published.LM_NAME).write_bytes(weights)
    assert resolve(str(twin)).fingerprint != resolve(str(folder)).fingerprint
    mimi_only = [resolve(str(path), parts=Part.MIMI).fingerprint for path in (folder, twin)]
    assert mimi_only[0] == mimi_only[1]


def test_the_codec_of_a_checkpoint_has_the_fingerprint_of_a_worker_that_runs_it(write_folder: WriteFolder) -> None:
    folder = write_folder(config=TINY | {"mimi_config_name": "mimi.json"})
    (folder / "mimi.json").write_text('{"n_q": 8}')
    assert codec_fingerprint(str(folder)) == resolve(str(folder), parts=Part.MIMI).fingerprint
    (folder / published.MIMI_NAME).unlink()
    assert codec_fingerprint(str(folder)) == ""


def test_the_codec_of_a_repository_is_known_once_its_files_are_here_and_is_never_downloaded(
    write_folder: WriteFolder, hub: FakeHub
) -> None:
    hub.repositories["o/n"] = write_folder(config=TINY)
    assert codec_fingerprint("o/n") == ""
    assert hub.files_asked() == ["config.json"]
    codec = resolve("o/n", parts=Part.MIMI)
    assert codec_fingerprint("o/n") == codec.fingerprint


def test_single_files_without_a_codec_name_none(write_folder: WriteFolder) -> None:
    assert codec_fingerprint(None, FileNames(config=str(write_folder(config=TINY) / "config.json"))) == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "config.json: expected a JSON object, found list"),
        ("{", "config.json: not readable as JSON"),
        ('{"moshi_name": 5}', "config.json: moshi_name: expected a file or type name, found 5"),
        ('{"lora_name": "absent.safetensors", "lora": true}', "absent.safetensors: no such file"),
        ('{"lora_name": "model.safetensors", "lora_scaling": "two"}', "config.json: lora_scaling: expected a number"),
        ('{"moshi_name": "absent.safetensors"}', "absent.safetensors: no such file"),
        ('{"moshi_name": "hf://absent"}', r"'hf://absent': expected hf://owner/repo\[@revision\]/path"),
    ],
)
def test_a_bad_configuration_is_refused_by_name(text: str, message: str, write_folder: WriteFolder) -> None:
    folder = write_folder()
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        resolve(str(folder))


@pytest.mark.parametrize("name", ["", "nowhere", "/no/such/folder", "./owner/name", "a/b/c", "owner/name@"])
def test_what_is_neither_folder_nor_repository_is_refused(name: str, hub: FakeHub) -> None:
    with pytest.raises(CheckpointError, match="neither an existing folder nor a repository"):
        resolve(name)
    assert hub.asked == []


@pytest.mark.parametrize("name", published.LM_NAMES)
def test_without_a_name_the_lm_is_the_file_that_is_there(name: str, write_folder: WriteFolder) -> None:
    folder = write_folder(config=TINY)
    (folder / "model.safetensors").rename(folder / name)
    assert resolve(str(folder)).lm_weights == folder / name
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=r"no LM, none of model\.safetensors, .*model\.q8\.gguf"):
        resolve(str(folder))


def test_adapters_are_a_file_of_their_own(write_folder: WriteFolder) -> None:
    config = TINY | {"lora": True, "lora_rank": 8, "lora_scaling": 0.5, "lora_name": "lora.safetensors"}
    folder = write_folder(config=config)
    (folder / "lora.safetensors").write_bytes(b"")
    checkpoint = resolve(str(folder), parts=Part.LM)
    assert (checkpoint.lora_weights, checkpoint.lora_scaling) == (folder / "lora.safetensors", 0.5)
    assert checkpoint.lm_config == TINY
    assert resolve(str(folder), parts=Part.MIMI).lora_weights is None


def test_an_unusable_number_of_codebooks_is_refused_by_name(write_folder: WriteFolder) -> None:
    checkpoint = resolve(str(write_folder(config={"n_q": "many", "dep_q": 8})))
    with pytest.raises(CheckpointError, match="n_q, dep_q"):
        _ = checkpoint.codebooks


def test_the_published_7b_configuration_is_complete() -> None:
    """The golden configuration has every key of a published one."""
    tiny = json.loads((GOLDEN / "lm_tiny" / "config.json").read_text())
    described_elsewhere = {
        "moshi_name",
        "mimi_name",
        "mimi_config_name",
        "tokenizer_name",
        "model_type",
        "lm_gen_config",
    }
    assert published.MOSHI_7B.keys() == tiny.keys() - described_elsewhere
