"""Inner monologue: the tokenizer of the world's replies, and the stream of tokens that runs beside the sound.

A word's tokens begin in the frame in which the word begins to sound. The frame before a word says "end of padding" if
it would say nothing else; all other frames are padding (Moshi's paper, section 3.4.4).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from moshi_cluster.audio.frame import FRAME_SAMPLES, MODEL_RATE_HZ
from training.world.exchanges import GREETING, Memory, ask, farewell
from training.world.speech import Span

PIECES = 512
END_OF_PADDING, PADDING = 0, 3
_EXCHANGES = 4000  # enough for every word to come up


def text_tokens(words: Sequence[Span], frames: int) -> NDArray[np.int64]:
    """Words in order of time -> a token per frame [T].

    A word that begins before the tokens of the one before it are said begins right after them. Tokens that would lie
    beyond the last frame are left out.
    """
    stream = np.full(frames, PADDING, dtype=np.int64)
    free = 0  # the first frame that no word has taken
    for word in words:
        # Times are sums of floats: a word that begins on a frame's edge must not fall before it.
        start = max(int(word.start_s * MODEL_RATE_HZ / FRAME_SAMPLES + 1e-6), free)
        pieces = tokenizer().encode(word.label)[: max(frames - start, 0)]
        if free < start <= frames:
            stream[start - 1] = END_OF_PADDING
        stream[start : start + len(pieces)] = pieces
        free = start + len(pieces)
    return stream


@cache
def tokenizer() -> SentencePieceProcessor:
    """The tokenizer of the world. Made anew in every process, the same each time."""
    return SentencePieceProcessor(model_proto=tokenizer_model())


@cache
def tokenizer_model() -> bytes:
    """The SentencePiece model as a file's content: `PIECES` pieces, every word of Moshi's is one of them."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(_words()),
        model_writer=model,
        vocab_size=PIECES,
        hard_vocab_limit=False,
        model_type="bpe",  # from little text it still makes whole words
        unk_id=END_OF_PADDING,
        bos_id=1,
        eos_id=2,
        pad_id=PADDING,
        num_threads=1,  # more threads sum in another order
        minloglevel=2,
    )
    return model.getvalue()


def save_tokenizer(path: Path) -> None:
    """Writes the model file that a checkpoint carries."""
    path.write_bytes(tokenizer_model())


def _words() -> list[str]:
    """Each word that Moshi says, once: how often it is said does not matter, no word shall be split."""
    random = Random("words")
    replies = {ask(random, "train", Memory()).reply for _ in range(_EXCHANGES)}
    return sorted({word for reply in replies | {GREETING, farewell().reply} for word in reply.split()})
