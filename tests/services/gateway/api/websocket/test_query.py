"""Query parameters: what each becomes, and that nonsense is refused by the parameter's name."""

from __future__ import annotations

import contextlib

import hypothesis
import pytest
from hypothesis import strategies as st

from moshi_cluster.services.common.errors import InvalidInput
from moshi_cluster.services.gateway.api.websocket.query import ChatRequest, parse_query
from moshi_cluster.services.gateway.audio.formats import AudioFormat, Encoding
from moshi_cluster.services.gateway.calls.spec import Slo
from moshi_cluster.services.gateway.settings import GatewaySettings

SETTINGS = GatewaySettings(jitter_allowance_ms=120)


def parse(**query: str) -> ChatRequest:
    return parse_query(query, SETTINGS)


def test_without_parameters_everything_is_left_to_the_checkpoint_and_chance() -> None:
    first, second = parse(), parse()
    assert [field.name for field, _ in first.spec.sampling.ListFields()] == ["seed"]
    assert first.spec.sampling.seed != second.spec.sampling.seed
    seeds = (first.text_seed, first.audio_seed, second.text_seed, second.audio_seed)
    assert len(set(seeds)) == 4
    assert max(seeds) < 2**53, "a number that a browser reads rounded"
    assert (first.resume, first.stats, first.spec.loopback, first.spec.paced) == (None, False, False, False)
    assert (first.spec.slo, first.spec.label, first.spec.jitter_allowance_s) == (Slo(), "chat", 0.12)
    assert first.spec.input_format == first.spec.output_format == AudioFormat(Encoding.OPUS, 24_000)
    assert first.spec.reply_packet_ms == 40


def test_what_moshis_own_web_page_sends_is_taken() -> None:
    asked = parse(
        worker_auth_id="x", email="a@b.c", text_temperature="0.7", text_topk="25", audio_temperature="0.8",
        audio_topk="250", pad_mult="-0.05", text_seed="831204", audio_seed="0", repetition_penalty_context="64",
        repetition_penalty="1", image_url="u", image_resolution="224",
    )  # fmt: skip
    sampling = asked.spec.sampling
    assert (sampling.text_top_k, sampling.audio_top_k, sampling.repetition_penalty_context) == (25, 250, 64)
    assert sampling.text_temperature == pytest.approx(0.7)
    assert sampling.audio_temperature == pytest.approx(0.8)
    assert sampling.padding_multiplier == pytest.approx(-0.05)
    assert sampling.repetition_penalty == 1.0
    assert (asked.text_seed, asked.audio_seed) == (831204, 0)


def test_seeds_decide_the_noise_each_for_itself() -> None:
    pairs = [("1", "2"), ("2", "1"), ("1", "3"), ("0", "0"), (str(2**63 - 1), "0")]
    seeds = {parse(text_seed=text, audio_seed=audio).spec.sampling.seed for text, audio in pairs}
    assert len(seeds) == len(pairs)
    assert parse(text_seed="1", audio_seed="2").spec.sampling.seed in seeds
    assert parse(text_seed="1").spec.sampling.seed != parse(text_seed="1").spec.sampling.seed


@pytest.mark.parametrize(("given", "used"), [("1", 1), ("500", 500), ("501", 500), ("2048", 500)])
def test_a_top_k_beyond_ours_but_not_upstreams_is_lowered(given: str, used: int) -> None:
    sampling = parse(text_topk=given, audio_topk=given).spec.sampling
    assert (sampling.text_top_k, sampling.audio_top_k) == (used, used)


REFUSED = [
    *(("text_temperature", value) for value in ("-0.1", "2.01", "nan", "inf", "warm", "")),
    *(("audio_temperature", value) for value in ("-1e-9", "1e9", "-inf", "0x1")),
    *(("text_topk", value) for value in ("0", "2049", "-1", "1.0", "", "1e2", " 5", "٣", "9" * 5000)),
    *(("audio_topk", value) for value in ("0", "99999", "x")),
    *(("text_seed", value) for value in ("-1", str(2**63), "1.5", "")),
    *(("audio_seed", value) for value in ("abc", "+1")),
    *(("pad_mult", value) for value in ("-4.1", "4.1", "nan")),
    *(("loopback", value) for value in ("1", "True", "")),
    *(("stats", value) for value in ("yes",)),
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_nonsense_is_refused_by_the_parameters_name(name: str, value: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse(**{name: value})
    assert error.value.field == name


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"repetition_penalty": "1.1"}, "repetition_penalty_context"),
        ({"repetition_penalty_context": "1"}, "repetition_penalty"),
        ({"repetition_penalty": "0.9", "repetition_penalty_context": "1"}, "repetition_penalty"),
        ({"repetition_penalty": "2.1", "repetition_penalty_context": "1"}, "repetition_penalty"),
        ({"repetition_penalty": "1.1", "repetition_penalty_context": "201"}, "repetition_penalty_context"),
    ],
)
def test_a_repetition_penalty_needs_both_halves(query: dict[str, str], name: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse(**query)
    assert error.value.field == name


NAMES = ["text_temperature", "audio_topk", "text_seed", "pad_mult", "loopback", "stats", "resume", "unheard_of"]


@hypothesis.given(query=st.dictionaries(st.sampled_from(NAMES), st.text(max_size=12)))
def test_any_text_is_taken_or_refused(query: dict[str, str]) -> None:
    with contextlib.suppress(InvalidInput):
        parse_query(query, SETTINGS)


def test_stats_come_when_asked_for() -> None:
    assert parse(stats="true").stats
    assert not parse().stats


def test_a_resume_key_is_not_taken_from_the_address() -> None:
    assert parse_query({}, SETTINGS, "key").resume == "key"
    with pytest.raises(InvalidInput, match=r"resume: belongs into the subprotocol, as moshi-cluster\.resume\.KEY"):
        parse(resume="secret-key")


def test_the_longest_page_may_be_filled_before_silence_is_put_before_a_voice() -> None:
    assert parse().spec.first_frame_allowance_s == pytest.approx(1.37)
