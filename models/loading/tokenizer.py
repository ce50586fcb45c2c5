"""Text tokenizer: from text tokens to what a person reads (docs/model.md 4.7)."""

from __future__ import annotations

from pathlib import Path

from sentencepiece import SentencePieceProcessor

from moshi_cluster.models.loading.errors import CheckpointError, MissingFileError

_WORD_START = "\u2581"
_UNKNOWN_CHARACTER = "\ufffd"
_END_OF_PADDING_ID = 0


class Tokenizer:
    """The pieces of a SentencePiece model, as they are shown."""

    def __init__(self, path: Path, padding_id: int = 3) -> None:
        """padding_id: the token that says nothing, existing_text_padding_id in config.json. Raises CheckpointError."""
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file")
        try:
            model = SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"{path}: not a SentencePiece model ({error})") from error
        self._model = model
        self._pieces = [_shown(model, token_id) for token_id in range(model.get_piece_size())]
        for silent_id in (_END_OF_PADDING_ID, padding_id):
            if silent_id < len(self._pieces):
                self._pieces[silent_id] = ""

    @property
    def size(self) -> int:
        """Number of pieces."""
        return len(self._pieces)

    def encode(self, text: str) -> list[int]:
        """Tokens of a text."""
        tokens: list[int] = self._model.encode(text)
        return tokens

    def piece(self, token_id: int) -> str:
        """What the token adds to the text; a leading space starts a word.

        Empty for padding, end of padding, control tokens and ids that the model does not know (the LM's vocabulary
        may be larger).
        """
        return self._pieces[token_id] if 0 <= token_id < len(self._pieces) else ""


def _shown(model: SentencePieceProcessor, token_id: int) -> str:
    piece: str = model.id_to_piece(token_id)
    if model.is_control(token_id):  # begin and end of sentence
        return ""
    return _shown_byte(int(piece[1:-1], 16)) if model.is_byte(token_id) else piece.replace(_WORD_START, " ")


def _shown_byte(value: int) -> str:
    """A byte piece, written <0x0A>, is a character only if it is ASCII.

    Longer characters come as several pieces. Each piece is shown alone, so the first byte of one stands for a
    character that cannot be shown, and those that continue it for nothing.
    """
    if value < 0x80:
        return chr(value)
    return _UNKNOWN_CHARACTER if value >= 0xC0 else ""
