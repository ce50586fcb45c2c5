"""Shape of a conversation's codes: what a codec and an lm must agree on before a call may pass both."""

from __future__ import annotations

from typing import NamedTuple


class CodeShape(NamedTuple):
    """Codes of a frame, as one checkpoint has them. Workers with unequal shapes refuse each other's frames."""

    user_codebooks: int
    moshi_codebooks: int
    codebook_size: int

    def __str__(self) -> str:
        return f"{self.user_codebooks}+{self.moshi_codebooks}x{self.codebook_size}"
