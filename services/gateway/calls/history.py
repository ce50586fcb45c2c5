"""Token history of a session: all that another worker needs to go on with it."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator

from moshi_cluster.v1 import lm_pb2


class History:
    """Delivered frames, oldest first: text token, Moshi's codes, user's codes; 34 bytes a frame for Moshi."""

    def __init__(self) -> None:
        self.checkpoint = ""
        """Fingerprint of the lm that it was made with: no other can go on with it. Empty before the first call."""
        self.first_frame = 0
        """Number of the oldest frame that is here; those before are not needed any more."""
        self._tokens = array("H")  # every published vocabulary has fewer than 65,536 tokens
        self._moshi_codebooks = 0
        self._width = 0

    def __len__(self) -> int:
        return len(self._tokens) // self._width if self._width else 0

    @property
    def total_frames(self) -> int:
        """Frames delivered so far, those that are not here any more included."""
        return self.first_frame + len(self)

    @property
    def width(self) -> int:
        """Tokens of a frame; 0 before the first."""
        return self._width

    @property
    def moshi_codebooks(self) -> int:
        """How many tokens of a frame are Moshi's codes; 0 before the first."""
        return self._moshi_codebooks

    def tokens(self, first: int, last: int) -> bytes:
        """Frames [first, last), 16 bits a token, little-endian."""
        here = slice((first - self.first_frame) * self._width, (last - self.first_frame) * self._width)
        return _little_endian(self._tokens[here]).tobytes()

    @classmethod
    def restored(cls, checkpoint: str, moshi_codebooks: int, width: int, first_frame: int, tokens: bytes) -> History:
        """A history that `tokens` has told, from frame `first_frame` on. Raises ValueError for half a frame."""
        history = cls()
        history.checkpoint, history.first_frame = checkpoint, first_frame
        history._moshi_codebooks, history._width = moshi_codebooks, width
        history._tokens.frombytes(tokens)
        history._tokens = _little_endian(history._tokens)
        if width and len(history._tokens) % width:
            raise ValueError("half a frame")
        return history

    def append(self, text_token: int, moshi_codes: Iterable[int], user_codes: Iterable[int]) -> None:
        """Adds one delivered frame."""
        before = len(self._tokens)
        self._tokens.append(text_token)
        self._tokens.extend(moshi_codes)
        self._moshi_codebooks = len(self._tokens) - before - 1
        self._tokens.extend(user_codes)
        self._width = len(self._tokens) - before

    def last(self, frames: int | None = None) -> tuple[int, list[lm_pb2.HistoryFrame]]:
        """The last frames as the lm service takes them, all for None, and how many there were before them."""
        skipped = 0 if frames is None else max(0, len(self) - frames)
        return self.first_frame + skipped, list(self._messages(skipped))

    def _messages(self, first_frame: int) -> Iterator[lm_pb2.HistoryFrame]:
        split = 1 + self._moshi_codebooks
        for first in range(first_frame * self._width, len(self._tokens), self._width or 1):
            row = self._tokens[first : first + self._width]
            yield lm_pb2.HistoryFrame(text_token=row[0], moshi_codes=row[1:split], user_codes=row[split:])


def _little_endian(tokens: array[int]) -> array[int]:
    if sys.byteorder == "big":
        tokens.byteswap()
    return tokens
