"""What a person reads of a text token."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from sentencepiece import SentencePieceTrainer

from moshi_cluster.models.loading.errors import CheckpointError
from moshi_cluster.models.loading.tokenizer import Tokenizer

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="module")
def with_bytes(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer whose ids 4 to 259 are the 256 byte pieces."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(["the cat sat on the mat"] * 5),
        model_writer=model,
        vocab_size=290,
        hard_vocab_limit=False,
        byte_fallback=True,
        pad_id=3,
        minloglevel=2,
    )
    path = tmp_path_factory.mktemp("tokenizer") / "bytes.model"
    path.write_bytes(model.getvalue())
    return Tokenizer(path)


def test_the_golden_text_is_shown_as_upstream_shows_it() -> None:
    tokenizer = Tokenizer(GOLDEN / "lm_tiny" / "tokenizer_spm_tiny_256.model")
    tokens = load_file(GOLDEN / "pipeline_tiny" / "outputs.safetensors")
    shown = json.loads((GOLDEN / "pipeline_tiny" / "text.json").read_text())
    for run, expected in shown.items():
        pieces = [tokenizer.piece(int(row[0])) for row in tokens[f"{run}_tokens"]]
        assert pieces == [piece or "" for piece in expected]


def test_padding_and_unknown_ids_say_nothing(with_bytes: Tokenizer) -> None:
    assert [with_bytes.piece(token_id) for token_id in (0, 3, -1, -2, with_bytes.size, 10**9)] == [""] * 6


def test_control_tokens_say_nothing() -> None:
    tokenizer = Tokenizer(GOLDEN / "lm_tiny" / "tokenizer_spm_tiny_256.model")
    assert [tokenizer.piece(1), tokenizer.piece(2)] == ["", ""]


def test_the_padding_id_is_the_checkpoint_s_own() -> None:
    tokenizer = Tokenizer(GOLDEN / "lm_tiny" / "tokenizer_spm_tiny_256.model", padding_id=6)
    assert tokenizer.piece(6) == ""
    assert Tokenizer(GOLDEN / "lm_tiny" / "tokenizer_spm_tiny_256.model").piece(6) == " the"


def test_byte_pieces_show_ascii_and_one_mark_for_anything_longer(with_bytes: Tokenizer) -> None:
    first_byte = 4
    assert with_bytes.piece(first_byte + ord("\n")) == "\n"
    assert "".join(with_bytes.piece(first_byte + byte) for byte in "€".encode()) == "\ufffd"


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.model: no such file"):
        Tokenizer(tmp_path / "absent.model")
    (tmp_path / "bad.model").write_bytes(b"\xff" * 100)
    with pytest.raises(CheckpointError, match=r"bad\.model: not a SentencePiece model"):
        Tokenizer(tmp_path / "bad.model")
