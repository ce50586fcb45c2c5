"""A recording of a voice becomes a voice prompt: its loudness, rate and codes; what makes none is named."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyloudnorm
import pytest
import torch
from safetensors.torch import load_file

from moshi_cluster.models.loading import CheckpointError
from moshi_cluster.models.moshi_lm.prompt import voice_of_codes
from moshi_cluster.services.lm import recordings
from moshi_cluster.services.lm.loading import load
from moshi_cluster.services.lm.recordings import levelled, read_wav, recording_encoder
from moshi_cluster.services.lm.settings import LmSettings
from moshi_cluster.services.lm.voices import voices_of
from tests.golden_set import golden_dir
from tests.models.moshi_lm.personas import persona_lm
from tests.services.persona_worker import persona_folder

ITU_SINE = 10 ** ((-24 + 3.01) / 20)  # BS.1770: 997 Hz at full scale are -3.01 LUFS


def wav(samples: npt.NDArray[np.float64], rate_hz: int = 24_000, width_bytes: int = 2, channels: int = 1) -> bytes:
    content = io.BytesIO()
    scaled = np.round(samples * (2 ** (8 * width_bytes - 1) - 1)).astype("<i4")
    data = scaled.view(np.uint8).reshape(-1, 4)[:, :width_bytes].tobytes()
    with wave.open(content, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width_bytes)
        file.setframerate(rate_hz)
        file.writeframes(data)
    return content.getvalue()


def sine(seconds: float, rate_hz: int = 24_000, hz: float = 997.0) -> npt.NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)


def spoken() -> bytes:
    return (golden_dir() / "audio/user_a.wav").read_bytes()


def placed(tmp_path: Path, name: str, content: bytes) -> LmSettings:
    (persona_folder(tmp_path) / "voices" / name).write_bytes(content)
    return LmSettings(checkpoint=str(tmp_path), slots=1)


def test_a_recording_gets_the_loudness_that_the_standard_defines() -> None:
    level = np.abs(levelled(sine(2.0).astype(np.float32))).max()
    assert level == pytest.approx(ITU_SINE, rel=0.01)


@pytest.mark.parametrize("width_bytes", [2, 3, 4])
def test_every_width_of_samples_gives_the_same_sound(width_bytes: int) -> None:
    samples, rate_hz = read_wav(wav(sine(0.5, 16_000), 16_000, width_bytes))
    assert rate_hz == 16_000
    assert np.abs(samples - sine(0.5, 16_000)).max() < 1e-4


def test_a_voice_says_what_upstreams_mimi_makes_of_a_recording_of_that_loudness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, rate_hz = read_wav(spoken())
    monkeypatch.setattr(recordings, "LOUDNESS_LUFS", pyloudnorm.Meter(rate_hz).integrated_loudness(samples))
    voices, files = voices_of(placed(tmp_path, "ANNA.wav", spoken()), persona_lm().config, 59)
    codes = load_file(golden_dir() / "mimi_tiny/outputs.safetensors")["codes_stream"][0, :8].T
    assert torch.equal(voices["ANNA"].frames, voice_of_codes(codes, persona_lm().config).frames)
    assert tmp_path / "voices/ANNA.wav" in files


class NotedMimi:
    """Stands for Mimi, and notes what it is given."""

    def __init__(self) -> None:
        self.frames: list[torch.Tensor] = []

    def encoder(self, slots: int) -> NotedMimi:
        return self

    def step(self, slots: list[int], pcm: torch.Tensor) -> torch.Tensor:
        self.frames.append(pcm)
        return torch.zeros(1, 8, dtype=torch.int64)


def test_the_rate_of_a_recording_changes_nothing_that_is_heard() -> None:
    heard = []
    for rate_hz in (24_000, 8_000, 44_100):
        mimi = NotedMimi()
        codes = recording_encoder(lambda noted=mimi: noted, 99)(wav(sine(1.0, rate_hz), rate_hz))  # type: ignore[misc]
        assert codes.shape == (13, 8)
        heard.append(torch.cat(mimi.frames).flatten()[2_000:22_000])
    assert all(torch.allclose(other, heard[0], atol=2e-3) for other in heard[1:])


def test_a_session_is_opened_with_a_recorded_voice_by_any_of_its_names(tmp_path: Path) -> None:
    model = load(placed(tmp_path, "ANNA.wav", spoken()))
    prompts = [model.prompt("", name) for name in ("ANNA", "ANNA.wav", "ANNA.pt")]
    assert len({prompt.key for prompt in prompts}) == 1
    assert len(prompts[0].frames) == 38 - 1 + 12


def test_a_stored_voice_is_that_of_its_recording_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    voices, _ = voices_of(placed(tmp_path, "VOICE0.wav", b"never read"), persona_lm().config, 59)
    assert voices["VOICE0"].embeddings is not None
    assert [line for line in caplog.messages if "VOICE0.wav is left out: VOICE0.pt is that voice" in line]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (lambda: b"RIFF", r"not a WAV file of PCM samples \(it ends too early\)"),
        (lambda: b"ID3 and more of it", "not a WAV file of PCM samples"),
        (lambda: wav(sine(1.0), channels=2), "2 channels: a voice is mono"),
        (lambda: wav(sine(1.0), width_bytes=1), "samples of 8 bits, only 16, 24 and 32 are read"),
        (lambda: wav(sine(1.0), rate_hz=4_000), "4000 Hz, only 8000 to 192000 are read"),
        (lambda: wav(sine(0.2)), r"0.20 s are too short, a voice takes 0.4 s at least"),
        (lambda: wav(sine(4.0, 8_000), 8_000), "4.0 s are 50 frames, at most 47 fit a prompt"),
        (lambda: wav(np.zeros(24_000)), "nothing but silence"),
    ],
)
def test_what_makes_no_voice_is_said_with_the_files_name(
    content: Callable[[], bytes], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=rf"voices: BAD\.wav: {complaint}"):
        voices_of(placed(tmp_path, "BAD.wav", content()), persona_lm().config, 59)


def test_without_a_mimi_no_recording_is_read(tmp_path: Path) -> None:
    settings = placed(tmp_path, "ANNA.wav", spoken())
    next(tmp_path.glob("tokenizer-*.safetensors")).unlink()
    with pytest.raises(CheckpointError, match=r"ANNA\.wav: no Mimi to encode it with: .*tokenizer-e351c8d8"):
        voices_of(settings, persona_lm().config, 59)


def test_a_stored_voice_that_leaves_no_room_for_a_prompt_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"voices: VOICE0: 13 frames, at most 8 fit a prompt"):
        voices_of(LmSettings(checkpoint=str(persona_folder(tmp_path))), persona_lm().config, 20)
