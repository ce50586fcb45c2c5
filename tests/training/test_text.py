"""The inner monologue: which token in which frame."""

from __future__ import annotations

from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.text import END_OF_PADDING, PADDING, PIECES, text_tokens, tokenizer, tokenizer_model
from training.world.exchanges import GREETING, Memory, ask, farewell
from training.world.speech import Span


def _token(word: str) -> int:
    [token] = tokenizer().encode(word)
    return int(token)


def test_every_word_of_moshis_is_one_piece() -> None:
    random = Random("other words")
    memories = (Memory(), Memory("anna"))
    replies = {ask(random, "eval", memory).reply for _ in range(2000) for memory in memories}
    replies |= {GREETING, farewell().reply}
    for word in {word for reply in replies for word in reply.split()}:
        assert len(tokenizer().encode(word)) == 1, word


def test_special_tokens_are_the_published_ones() -> None:
    model = tokenizer()
    assert (model.unk_id(), model.bos_id(), model.eos_id(), model.pad_id()) == (0, 1, 2, 3)
    assert model.get_piece_size() == PIECES


def test_the_tokenizer_is_the_same_every_time() -> None:
    again = tokenizer_model.__wrapped__()
    assert again == tokenizer_model()


def test_words_stand_where_they_begin_after_the_end_of_padding() -> None:
    stream = text_tokens([Span("hello", 0.4, 0.7), Span("moshi", 0.72, 1.0)], 12)
    expected = np.full(12, PADDING)
    expected[[4, 5]] = END_OF_PADDING, _token("hello")
    expected[[8, 9]] = END_OF_PADDING, _token("moshi")
    np.testing.assert_array_equal(stream, expected)


def test_words_in_one_frame_follow_each_other_without_padding_between() -> None:
    stream = text_tokens([Span("i", 0.16, 0.2), Span("am", 0.22, 0.3), Span("fine", 0.33, 0.5)], 8)
    words = [_token(word) for word in ("i", "am", "fine")]
    assert stream.tolist() == [PADDING, END_OF_PADDING, *words, PADDING, PADDING, PADDING]


def test_a_word_in_the_first_frame_has_no_end_of_padding() -> None:
    assert text_tokens([Span("hello", 0.0, 0.5)], 3).tolist() == [_token("hello"), PADDING, PADDING]


def test_words_beyond_the_last_frame_are_left_out() -> None:
    assert text_tokens([Span("hello", 0.4, 0.7)], 5).tolist() == [PADDING] * 4 + [END_OF_PADDING]
    assert text_tokens([Span("hello", 4.0, 4.7)], 5).tolist() == [PADDING] * 5


@given(st.lists(st.sampled_from(["hello", "three", "the", "wednesday"]), max_size=12), st.floats(0.01, 0.6))
def test_reading_the_stream_gives_the_words(words: list[str], pace_s: float) -> None:
    spans = [Span(word, 0.2 + index * pace_s, 0.2 + (index + 1) * pace_s) for index, word in enumerate(words)]
    tokens = [int(token) for token in text_tokens(spans, 200) if token not in (PADDING, END_OF_PADDING)]
    assert tokenizer().decode(tokens) == " ".join(words)
