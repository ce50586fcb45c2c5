"""Prompts: what NVIDIA's PersonaPlex says after them, kept prompts, and what they are not counted as."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from moshi_cluster.models.moshi_lm import Generator, Sampling
from moshi_cluster.models.moshi_lm.prompt import Prompt
from moshi_cluster.models.moshi_lm.prompt_cache import PromptCache
from moshi_cluster.models.moshi_lm.static import StaticGenerator
from tests.models.moshi_lm.conversation import GREEDY
from tests.models.moshi_lm.personas import golden, golden_voices, persona_lm, prompt_of

KINDS = [Generator, StaticGenerator]
PENALISED = Sampling(text_temperature=0.0, audio_temperature=0.0, repetition_penalty=2.0)
PLENTY = 1 << 24


def said(
    generator: Generator | StaticGenerator,
    prompt: Prompt | None,
    user: Tensor,
    sampling: Sampling = GREEDY,
    history: Tensor | None = None,
    chunk_frames: int = 64,
) -> list[list[int]]:
    """Text and own codes of every answer; the slot is free again."""
    generator.open(0, sampling, history, prompt=prompt)
    while generator.prefill(0, chunk_frames):
        pass
    replies = [generator.step([0], frame[None]) for frame in user]
    generator.close(0)
    return [[int(reply.text), *reply.audio[0].tolist()] for reply in replies]


@pytest.mark.parity
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("voice", ["codes", "file"])
def test_a_prompted_session_says_what_nvidias_says_past_the_ring(
    voice: str, kind: type[Generator | StaticGenerator]
) -> None:
    generator = kind(persona_lm(), 1, prompt_cache_bytes=PLENTY)
    prompt, expected = prompt_of(golden_voices()[voice], golden()["text_prompt"].tolist()), golden()["tokens_prompted"]
    for hits in (0, 1):  # read, then kept
        assert said(generator, prompt, golden()["user_codes"])[:-1] == expected[1:].tolist()
        assert generator.prompt_cache.hits == hits


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_said_is_gone_on_with_after_the_prompt(kind: type[Generator | StaticGenerator]) -> None:
    generator, user = kind(persona_lm(), 1), golden()["user_codes"][:40]
    prompt = prompt_of(golden_voices()["file"], [5, 6, 7])
    whole = said(generator, prompt, user)
    history = torch.cat((torch.tensor(whole[:25]), user[:25]), dim=1)
    assert said(generator, prompt, user[25:], history=history, chunk_frames=7) == whole[25:]


def test_a_kept_prompt_leaves_the_bits_that_reading_it_leaves() -> None:
    generator = Generator(persona_lm(), 2, prompt_cache_bytes=PLENTY)
    prompt = prompt_of(golden_voices()["file"], [9, 8, 7])
    for slot in (0, 1):
        generator.open(slot, GREEDY, prompt=prompt)
        while generator.prefill(slot, 5 if slot else 64):
            pass
    assert (generator.prompt_cache.hits, generator.prompt_cache.misses) == (1, 1)
    for tensor in (*generator.kv_cache.keys, *generator.kv_cache.values):
        assert torch.equal(tensor[0], tensor[1])


def test_other_prompts_and_none_are_told_apart() -> None:
    generator, user = Generator(persona_lm(), 1, prompt_cache_bytes=PLENTY), golden()["user_codes"][:12]
    prompts = [None, *(prompt_of(golden_voices()["file"], text, str(text)) for text in ([4, 5], [5, 4]))]
    alone = [said(Generator(persona_lm(), 1), prompt, user) for prompt in prompts]
    assert len({str(tokens) for tokens in alone}) == 3
    for _ in range(2):
        assert [said(generator, prompt, user) for prompt in prompts] == alone


def test_text_alone_begins_with_silence_whose_first_frame_is_never_read() -> None:
    prompt = prompt_of(None, [7, 8])
    assert prompt.frames[:, 0].tolist() == [3] * 5 + [7, 8] + [3] * 6
    assert prompt.embeddings is None


@pytest.mark.parametrize("kind", KINDS)
def test_the_words_of_a_prompt_are_not_words_that_were_said(kind: type[Generator | StaticGenerator]) -> None:
    """A repetition penalty over a whole window of them changes nothing about the first word."""
    generator, user = kind(persona_lm(), 1), golden()["user_codes"][:1]
    for words in (range(4, 60), range(40, 96)):
        prompt = prompt_of(None, list(words), str(words))
        first, plain = (said(generator, prompt, user, sampling)[0][0] for sampling in (PENALISED, GREEDY))
        assert first == plain


def test_the_least_used_prompts_go_when_there_are_too_many_bytes() -> None:
    cache, slot = PromptCache(3 * 40), [torch.ones(2, 5)]
    for key in "abc":
        cache.keep(key, slot)
    assert cache.restore("a", slot)
    cache.keep("d", [torch.full((2, 5), 4.0)])
    assert cache.nbytes == 120
    assert [cache.restore(key, slot) for key in "abcd"] == [True, False, True, True]
    assert slot[0].unique().tolist() == [4.0]
    cache.keep("too large", [torch.ones(2, 20)])
    assert (cache.nbytes, cache.hits, cache.misses) == (120, 4, 1)
