"""The codec gives what the original implementation gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from moshi_cluster.models.mimi.attention import ClipAttention
from tests.models.mimi import tiny

pytestmark = pytest.mark.parity

ALL = 32
CLOSE = {"atol": 2e-5, "rtol": 0.0}


def outputs(name: str) -> Tensor:
    return tiny.reference("outputs")[name]


def test_streamed_latents_match_past_the_wrap_of_the_ring() -> None:
    encoder = tiny.mimi(ALL).encoder(1)
    latents = torch.stack([encoder.latents([0], frame) for frame in tiny.frames(tiny.voice("user_a"))], dim=2)
    torch.testing.assert_close(latents, outputs("latent_stream"), **CLOSE)


@pytest.mark.parametrize("codebooks", [1, 2, 8, 32])
def test_streamed_codes_are_exact(codebooks: int) -> None:
    encoder = tiny.mimi(codebooks).encoder(1)
    codes = torch.stack([encoder.step([0], frame) for frame in tiny.frames(tiny.voice("user_a"))], dim=2)
    assert torch.equal(codes, outputs("codes_stream")[:, :codebooks])


def test_latents_of_a_clip_match() -> None:
    latents = tiny.mimi(ALL).latents(tiny.voice("user_a")).transpose(1, 2)
    torch.testing.assert_close(latents, outputs("latent_nonstream"), **CLOSE)


@pytest.mark.parametrize(
    ("voice", "samples", "name"),
    [
        ("user_a", None, "codes_nonstream"),
        ("user_b", None, "codes_nonstream_b"),
        ("user_a", 70001, "codes_nonstream_len70001"),
    ],
)
def test_codes_of_a_clip_are_exact(voice: str, samples: int | None, name: str) -> None:
    assert torch.equal(tiny.mimi(ALL).encode(tiny.voice(voice)[:, :samples]), outputs(name))


def test_streamed_pcm_matches_past_the_wrap_of_the_ring() -> None:
    decoder = tiny.mimi(8).decoder(1)
    pcm = torch.cat([decoder.step([0], frame) for frame in outputs("codes_stream")[:, :8].unbind(2)], dim=1)
    torch.testing.assert_close(pcm[:, None], outputs("pcm_stream_8"), **CLOSE)


def test_pcm_of_a_clip_matches() -> None:
    pcm = tiny.mimi(8).decode(outputs("codes_stream")[:, :8])
    torch.testing.assert_close(pcm[:, None], outputs("pcm_nonstream_8"), **CLOSE)


def test_pcm_from_all_codebooks_matches() -> None:
    pcm = tiny.mimi(ALL).decode(outputs("codes_stream")[:, :, :12])
    torch.testing.assert_close(pcm[:, None], outputs("pcm_nonstream_32_first12"), **CLOSE)


@torch.inference_mode()
def test_encoder_matches_stage_by_stage() -> None:
    encoder = tiny.mimi(8).latent_encoder
    histories = encoder.history.split(torch.zeros(1, encoder.history.floats))
    convolved = encoder.seanet(tiny.voice("user_a")[:, :, None], histories[:-1])
    torch.testing.assert_close(convolved.transpose(1, 2), outputs("trace_enc_seanet"), **CLOSE)
    attend = ClipAttention(tiny.config(), 1, convolved.shape[1], torch.device("cpu"))
    transformed = encoder.transformer(convolved, attend)
    torch.testing.assert_close(transformed.transpose(1, 2), outputs("trace_enc_transformer"), **CLOSE)


@pytest.mark.parametrize("codebooks", [8, 32])
@torch.inference_mode()
def test_dequantised_latents_match(codebooks: int) -> None:
    latents = tiny.mimi(ALL).quantizer.decode(outputs("codes_stream")[0, :codebooks].T)
    torch.testing.assert_close(latents.T[None], outputs(f"trace_dec_emb{codebooks}"), **CLOSE)


@torch.inference_mode()
def test_decoder_matches_stage_by_stage() -> None:
    decoder = tiny.mimi(8).latent_decoder
    latents = outputs("trace_dec_emb8").transpose(1, 2)
    upsampled = decoder.upsample(latents, torch.zeros_like(latents[:, :1]))
    torch.testing.assert_close(upsampled.transpose(1, 2), outputs("trace_dec_upsampled8"), **CLOSE)
    attend = ClipAttention(tiny.config(), 1, upsampled.shape[1], torch.device("cpu"))
    transformed = decoder.transformer(upsampled, attend)
    torch.testing.assert_close(transformed.transpose(1, 2), outputs("trace_dec_transformer8"), **CLOSE)


def test_two_streams_with_pauses_and_a_reset_match() -> None:
    """Item 1 pauses at steps 5 to 7 and starts anew at step 14; encoder and decoder together."""
    case = tiny.reference("batch2")
    mimi = tiny.mimi(ALL)
    encoder, decoder = mimi.encoder(2), mimi.decoder(2)
    voices = [tiny.frames(tiny.voice(name))[:, 0] for name in ("user_a", "user_b")]
    heard = dict(zip(case["pcm_frames_idx"].tolist(), case["pcm"].unbind(1), strict=True))
    for step in range(case["exec_mask"].shape[1]):
        for item in case["reset_before"][:, step].nonzero().flatten().tolist():
            encoder.reset(item)
            decoder.reset(item)
        items = case["exec_mask"][:, step].nonzero().flatten().tolist()
        fed = torch.stack([voices[item][case["feed_frame"][item, step]] for item in items])
        codes = encoder.step(items, fed)
        assert torch.equal(codes, case["codes"][items, :, step])
        pcm = decoder.step(items, codes[:, :8])
        if step in heard:
            torch.testing.assert_close(pcm, heard[step][items], **CLOSE)
